"""Turn this process into a gevent process, gRPC included.

Must run before anything else imports grpc, and long before a channel exists: gRPC decides at
its first object how it waits. Only the load process does this, never a module on import.
"""

import gevent
from gevent import monkey

# Name resolution uses the same pool.
_OTHER_THREADS = 8


def install() -> None:
    """Patch the standard library and gRPC; safe to call once the process is patched already."""
    # libev's epoll backend rounds timers to whole milliseconds, which alone makes a dispatcher
    # 0.6 ms late at the median; select takes microseconds (0.1 ms measured). gRPC keeps its
    # sockets to itself, so the loop watches only a handful of descriptors. Without effect when
    # the loop exists already, as under the `locust` command.
    gevent.config.libev_backend = "select"
    monkey.patch_all()

    # Only now: importing grpc before the patch would bind it to real threads.
    from grpc.experimental.gevent import init_gevent  # noqa: PLC0415

    init_gevent()


def make_room(calls: int) -> None:
    """Let so many gRPC calls wait for their answers at the same time.

    gRPC waits for each blocking call on a thread of gevent's native pool, which has 10. Beyond
    that, calls wait in line to be *seen*: with 50 slow calls in flight, answers of 2 ms were
    measured as 1.8 s. Answers that come in order hide it, so a constant-time stub does too.
    """
    pool = gevent.get_hub().threadpool
    pool.maxsize = max(pool.maxsize, calls + _OTHER_THREADS)
