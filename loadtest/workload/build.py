"""All bodies of a run, built before it: building one later would delay every call due meanwhile."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Final

from loadtest.errors import RunFailed
from loadtest.scenario.requests import Request
from loadtest.scenario.schema import AnyScenario, Offline, Replay
from loadtest.workload.asking import Ask, Inspect, Model
from loadtest.workload.lengths import stream
from loadtest.workload.methods import INFER, INFER_STREAM
from loadtest.workload.mix import mix
from loadtest.workload.payload import Payload
from loadtest.workload.questions import CALLS, Question
from loadtest.workload.tensors import Inputs
from loadtest.workload.texts import MAX_PAYLOADS, Draws, require_recording

MAX_POOL_BYTES: Final = 128 << 20
"""Of a drawn pool: with large bodies, such as images, it has fewer of them."""
MAX_RECORDED_BYTES: Final = 1 << 30
"""Of the bodies of a recording, which has one for each arrival."""
MAX_CALL_TOKENS: Final = 1 << 23
"""Of one call; no server takes a message of so many words."""

_MIX: Final = 1 << 16

_Known = Callable[[str], Model]


class _Kind:
    """One kind of request, and what it has drawn so far."""

    def __init__(self, number: int, request: Request, seed: int, known: _Known) -> None:
        self._number = number
        self._request = request
        self._draws = Draws(seed, number)
        self._known = known
        self._inputs = cache(lambda name: Inputs(known(name), request.tensors))

    def drawn(self, model: str) -> Iterator[Payload]:
        """Yield bodies of drawn lengths, without end."""
        request = self._request
        if request.texts_per_call > MAX_CALL_TOKENS:
            raise RunFailed(f"texts_per_call: {request.texts_per_call} is too many for one call")
        while True:
            lengths = self._draws.lengths(request.lengths, request.texts_per_call)
            yield self.payload(model, lengths)

    def payload(self, model: str, lengths: Sequence[int]) -> Payload:
        """Return the body of a call with these lengths."""
        name = self._request.model or model
        if not name:
            raise RunFailed("no model is named; pass --model, or give the request a model")
        if (tokens := sum(lengths)) > MAX_CALL_TOKENS:
            raise RunFailed(
                f"a call of {tokens} tokens; {MAX_CALL_TOKENS} is the most: give shorter lengths"
                " or fewer texts_per_call"
            )
        if self._request.rpc in CALLS:
            call = CALLS[self._request.rpc]
            messages = call.messages(Question(self._known(name), lengths, self._draws))
            return Payload(self._number, call.method, call.kind, messages, len(lengths))
        return self._infer(name, lengths)

    def _infer(self, name: str, lengths: Sequence[int]) -> Payload:
        inputs = self._inputs(name)
        if self._request.rpc == "infer":
            message = inputs.message(lengths, self._draws)
            rows, promises = inputs.rows(lengths), inputs.promises(lengths)
            return Payload(self._number, INFER, "unary", (message,), rows, promises)
        messages = tuple(inputs.message((one,), self._draws) for one in lengths)
        promises = inputs.promises(lengths[:1])
        return Payload(self._number, INFER_STREAM, "stream", messages, len(lengths), promises)


def payloads(
    scenario: AnyScenario, model: str, inspect: Inspect, ask: Ask | None = None
) -> list[Payload]:
    """Return the bodies of a run; call i sends body i modulo their number.

    Args:
        scenario: resolved.
        model: the one that requests name that name none themselves.
        inspect: asked for the tensors of models that `infer` calls.
        ask: asked for what `fill-mask` and `detokenize` need to know of a model, and for what the
            outputs of heed's models count. Without it those two cannot be built.

    Raises:
        RunFailed: some request cannot be built; says what to change.
    """
    known = cache(lambda name: Model(name, inspect, ask))
    if isinstance(scenario, Replay):
        return _replayed(scenario, model, known)
    kinds = [
        _Kind(number, request, scenario.seed, known)
        for number, request in enumerate(scenario.requests)
    ]
    count = MAX_PAYLOADS
    if isinstance(scenario, Offline):
        count = max(min(scenario.calls, MAX_PAYLOADS), len(kinds))
    weights = [request.weight for request in scenario.requests]
    order = mix(weights, count, stream(scenario.seed, _MIX))
    endless = [kind.drawn(model) for kind in kinds]
    found: list[Payload] = []
    num_bytes = 0
    for number in order:
        payload = next(endless[number])
        found.append(payload)
        num_bytes += sum(map(len, payload.messages))
        if num_bytes > MAX_POOL_BYTES and len(found) >= len(kinds):
            break
    return found


def _replayed(scenario: Replay, model: str, known: _Known) -> list[Payload]:
    require_recording(scenario)
    kind = _Kind(0, scenario.requests[0], scenario.seed, known)
    found: list[Payload] = []
    num_bytes = 0
    for arrival in scenario.recorded:
        payload = kind.payload(model or arrival.model, arrival.lengths)
        found.append(payload)
        num_bytes += sum(map(len, payload.messages))
        if num_bytes > MAX_RECORDED_BYTES:
            raise RunFailed(
                f"the bodies of the first {len(found)} of {len(scenario.recorded)} recorded"
                f" arrivals have over {MAX_RECORDED_BYTES} bytes; replay a part of the trace"
            )
    return found
