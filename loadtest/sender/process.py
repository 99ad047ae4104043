"""A sending process from its order to its last frame."""

import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import BinaryIO

import msgspec

from loadtest.errors import RunFailed
from loadtest.scenario.schema import BadScenario
from loadtest.sender import order
from loadtest.sender.clock import Clock, sharpen, sharpen_thread
from loadtest.sender.engine import Engine
from loadtest.sender.ledger import Ledger, Write
from loadtest.sender.parent import Parent
from loadtest.sender.preparation import Prepared, prepare
from loadtest.sender.priority import take_realtime

_FLUSH_EVERY_S = 0.1


def serve(lines: BinaryIO, frames: BinaryIO) -> int:
    """Do what the lines say, answer in frames, and return the exit code."""

    def write(kind: bytes, body: bytes) -> None:
        frames.write(order.frame(kind, body))
        frames.flush()

    try:
        _serve(Parent(lines), write)
    except (RunFailed, BadScenario, msgspec.ValidationError) as error:
        failed = order.Failed(str(error))
    except Exception as error:  # noqa: BLE001  the parent shall hear of whatever it was
        traceback.print_exc()
        failed = order.Failed(f"the generator failed: {error!r}")
    else:
        return 0
    write(order.FAILED, msgspec.json.encode(failed))
    return 1


def _serve(parent: Parent, write: Write) -> None:
    clock = Clock()
    prepared = prepare(parent.order, clock)
    try:
        ledger = Ledger(parent.order.worker, write)
        engine = Engine(clock, prepared.wire, ledger, parent.order.scenario.deadline_s)
        sharpen()
        # Only now: connecting and building may take their time.
        is_realtime = prepared.wants_realtime and take_realtime()
        ready = prepared.ready(is_realtime=is_realtime)
        write(order.READY, msgspec.json.encode(ready))
        start = parent.await_start()
        # Without one there is only a stop to be told of, and instant 0 is now.
        clock.begin(time.monotonic_ns() if start is None else start.at_ns)
        parent.tell_of_stop(engine.stop)
        done = _run(prepared, engine, ledger)
    finally:
        prepared.wire.close()
    write(order.DONE, msgspec.json.encode(done))


def _run(prepared: Prepared, engine: Engine, ledger: Ledger) -> order.Done:
    sharpen_thread()
    with _flushing(engine, ledger):
        engine.wait_until(0)
        before_s = time.process_time()
        measured_from_ns = prepared.run(engine)
        cpu_s = time.process_time() - before_s
        engine.drain()
    if engine.failure is not None:
        raise engine.failure
    return order.Done(
        measured_from_ns=measured_from_ns,
        end_ns=prepared.end_ns(engine, measured_from_ns),
        stopped=engine.stopped,
        cpu_s=cpu_s,
        most_in_flight=engine.most_in_flight,
        errors=ledger.errors,
    )


@contextmanager
def _flushing(engine: Engine, ledger: Ledger) -> Iterator[None]:
    """Hand rows on about ten times a second, and all of them at the end."""
    is_over = Event()

    def flush() -> None:
        try:
            while not is_over.wait(_FLUSH_EVERY_S):
                ledger.flush()
        except Exception as failure:  # noqa: BLE001  the main thread reports it
            engine.fail(failure)

    thread = Thread(target=flush, name="flush")
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
    ledger.flush()
