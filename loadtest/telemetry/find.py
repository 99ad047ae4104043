"""Find something to look at when asked how the server does."""

import psutil

from loadtest.errors import RunFailed
from loadtest.telemetry.listeners import Address, address, listeners, listens
from loadtest.telemetry.processes import is_alive, name_of
from loadtest.telemetry.servers import LocalServer, MetricsPage, ServerSource, Unknown


def server(target: str, pid: int | None, metrics_url: str | None) -> ServerSource:
    """Return where the server's figures come from: what was named, else who listens at `target`.

    A source that says why there is none counts as one.

    Raises:
        RunFailed: what was named does not exist.
    """
    where = address(target)
    if pid is not None:
        return _of_process(pid, where)
    if metrics_url is not None:
        return _of_page(metrics_url)
    if where is None:
        return Unknown(f"{target} is no address of this machine")
    found = listeners(where)
    if not found.processes:
        return Unknown(found.reason)
    pids = ", ".join(f"{name_of(process)} {process.pid}" for process in found.processes)
    return LocalServer(
        f"listening at {target} ({pids})",
        lambda: listeners(where).processes,
        lambda process: listens(process, where),
    )


def _of_process(pid: int, where: Address | None) -> ServerSource:
    try:
        process = psutil.Process(pid)
    except (psutil.NoSuchProcess, ValueError, OverflowError) as error:
        raise RunFailed(f"there is no process {pid}; correct --server-pid") from error

    def find() -> tuple[psutil.Process, ...]:
        """Return the process, or who listens in its place once it has gone."""
        if where is None or is_alive(process):
            return (process,)
        return listeners(where).processes

    return LocalServer(
        f"pid {pid} ({name_of(process)})",
        find,
        lambda child: where is not None and listens(child, where),
    )


def _of_page(url: str) -> ServerSource:
    if not url.startswith(("http://", "https://")):
        raise RunFailed(f"--metrics {url} is no http address; give all of it, /metrics too")
    try:
        return MetricsPage(url)
    except (OSError, ValueError) as error:
        raise RunFailed(f"no server's metrics at {url}: {error}; correct --metrics") from error
