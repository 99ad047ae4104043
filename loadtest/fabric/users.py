"""Locust's view of a run: one user in each sending process, which Locust starts, stops, counts.

Imports Locust, which patches the process; only the load processes may import this module.
"""

from typing import ClassVar

from locust import User, constant, task
from locust.dispatch import UsersDispatcher
from locust.exception import StopUser
from locust.runners import WorkerNode

from loadtest.fabric.desk import Desk


class Sender(User):
    """Stands for all callers of one process. Its sender is a process of its own."""

    abstract = True
    desk: ClassVar[Desk]
    wait_time = constant(0)

    @task
    def work(self) -> None:
        """Work off the order, then leave."""
        self.desk.work()
        raise StopUser


def bind(desk: Desk) -> type[Sender]:
    """Return the user class of one Locust environment, which creates its users itself.

    The name is the same everywhere: master and workers speak of users by it.
    """
    return type("Sender", (Sender,), {"desk": desk, "abstract": False})


class OneEach(UsersDispatcher):
    """Gives every worker one user, whatever number was asked for, and leaves it there.

    Locust's own dispatcher would move users to workers that join, and so stop a sender in mid-run.
    """

    def __init__(self, worker_nodes: list[WorkerNode], user_classes: list[type[User]]) -> None:
        super().__init__(worker_nodes, user_classes)
        self._is_due = False

    @property
    def dispatch_in_progress(self) -> bool:
        """Return always yes: Locust starts no further dispatch when a worker joins or leaves."""
        return True

    def new_dispatch(
        self,
        target_user_count: int,  # noqa: ARG002  (Locust's signature)
        spawn_rate: float,  # noqa: ARG002
        user_classes: list[type[User]] | None = None,  # noqa: ARG002
    ) -> None:
        """Have `next` return the one and only distribution."""
        self._is_due = True

    def __next__(self) -> dict[str, dict[str, int]]:
        if not self._is_due:
            raise StopIteration
        self._is_due = False
        return {
            worker.id: {user.__name__: 1 for user in self._user_classes}
            for worker in self._worker_nodes
        }

    def add_worker(self, worker_node: WorkerNode) -> None:
        """Do nothing: who comes late waits for the next run."""

    def remove_worker(self, worker_node: WorkerNode) -> None:
        """Do nothing: nobody can take over what another one should have sent."""
