"""Turn ended calls into rows and hand them on, in the time that sending leaves over.

A callback only appends its call; reading the answer and packing the row wait for the next flush,
so that neither delays a call that is due. Memory stays bounded: a large answer, or one that finds
many others waiting, is read at once.
"""

import struct
from collections import Counter, deque
from collections.abc import Callable
from threading import Lock
from typing import Final

from loadtest.record.codes import code_name
from loadtest.record.row import ROW
from loadtest.sender import order
from loadtest.sender.wire import Call
from loadtest.workload.answers import read
from loadtest.workload.payload import Outcome

_MAX_WAITING: Final = 2048
_LARGE_BYTES: Final = 64 << 10
# Different texts kept for one code; later ones are counted together.
_TEXTS_PER_CODE: Final = 5
_MAX_TEXT: Final = 300
_PACK: Final = struct.Struct(
    "<" + "".join({2: "h", 4: "i", 8: "q"}[ROW[name].itemsize] for name in ROW.names or ())
)
_PROBE: Final = struct.Struct("<qq")

Write = Callable[[bytes, bytes], None]


class Ledger:
    """Rows and probes of one sending process, on their way out."""

    def __init__(self, worker: int, write: Write) -> None:
        self._worker = worker
        self._write = write
        self._waiting: deque[Call] = deque()
        self._rows: deque[bytes] = deque()
        self._probes: deque[bytes] = deque()
        self._lock = Lock()
        self._errors: Counter[str] = Counter()
        self._texts: Counter[str] = Counter()

    @property
    def errors(self) -> dict[str, int]:
        """How often calls failed, by code and text."""
        with self._lock:
            return dict(self._errors)

    def add(self, call: Call) -> None:
        """Take an ended call, from any thread."""
        if len(self._waiting) < _MAX_WAITING and _size(call) < _LARGE_BYTES:
            self._waiting.append(call)
        else:
            self._rows.append(self._row(call))

    def add_probe(self, due_ns: int, late_ns: int) -> None:
        """Take how late a timer fired."""
        self._probes.append(_PROBE.pack(due_ns, late_ns))

    def flush(self) -> None:
        """Write what came in since the last time. One thread at a time."""
        for _ in range(len(self._waiting)):
            self._rows.append(self._row(self._waiting.popleft()))
        self._hand_on(order.CALLS, self._rows)
        self._hand_on(order.PROBES, self._probes)

    def _hand_on(self, kind: bytes, parts: deque[bytes]) -> None:
        if body := b"".join(parts.popleft() for _ in range(len(parts))):
            self._write(kind, body)

    def _row(self, call: Call) -> bytes:
        outcome = outcome_of(call)
        if outcome.code != 0:
            self._count(outcome.code, call)
        return _PACK.pack(
            call.index,
            call.scheduled_ns,
            call.sent_ns,
            call.first_ns,
            call.done_ns,
            outcome.code,
            self._worker,
            call.phase,
            call.payload.request,
            call.payload_number,
            call.payload.texts,
            outcome.tokens,
            _size(call),
            outcome.tokenize_ns,
            outcome.queue_ns,
            outcome.run_ns,
            outcome.total_ns,
            outcome.batch_sequences,
            outcome.batch_tokens,
        )

    def _count(self, code: int, call: Call) -> None:
        name = code_name(code)
        text = f"{name}: {call.detail or call.payload.method}"[:_MAX_TEXT]
        with self._lock:
            if text not in self._errors:
                if self._texts[name] == _TEXTS_PER_CODE:
                    text = f"{name}: other texts"
                else:
                    self._texts[name] += 1
            self._errors[text] += 1


def outcome_of(call: Call) -> Outcome:
    """Return what came of an ended call."""
    if call.code != 0:
        return Outcome(call.code)
    trailing = [(key, value) for key, value in call.trailing if isinstance(value, str)]
    return read(call.payload, call.messages, trailing)


def _size(call: Call) -> int:
    return sum(map(len, call.messages))
