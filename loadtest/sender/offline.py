"""Send a fixed number of calls that are all due at once; the end is when the last is answered."""

from threading import Lock

from loadtest.arrivals.split import part
from loadtest.sender import closed
from loadtest.sender.engine import Engine
from loadtest.sender.wire import Call


def offline(engine: Engine, warmup: closed.Part, calls: int) -> int:
    """Warm up as a closed loop, wait for its end, then send this worker's calls.

    The calls have the indices 0 to `calls` - 1 of all workers together and so the same payloads in
    every run; those of the warm-up come after them. Returns the instant at which they were due.
    """
    closed.closed(engine, warmup)
    engine.drain()
    due_ns = engine.clock.now_ns()
    payloads = warmup.payloads
    indices = iter(part(calls, warmup.worker, warmup.workers).tolist())
    lock = Lock()
    left = True

    def draw(connection: int) -> Call | None:
        nonlocal left
        with lock:
            index = next(indices, None)
        if index is None or engine.is_over():
            left = False
            return None
        chosen = index % len(payloads)
        return Call(payloads[chosen], chosen, index, due_ns, 0, connection)

    lanes = closed.Lanes(engine, draw)
    lanes.start(warmup.in_flight, warmup.connections)
    lanes.attend(lambda: not left and lanes.are_quiet)
    return due_ns
