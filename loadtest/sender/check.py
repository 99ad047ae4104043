"""Ask the server once before a run, so that what cannot work fails at once and plainly."""

from collections.abc import Iterator, Sequence

from loadtest.errors import RunFailed
from loadtest.record.codes import code_name
from loadtest.sender.ledger import outcome_of
from loadtest.sender.order import Order
from loadtest.sender.wire import Call, Wire
from loadtest.workload.payload import Payload
from protos import inference_pb2

METADATA = "/inference.GRPCInferenceService/ModelMetadata"
# How long a first answer may take at least, whatever the deadline of the run is.
_PATIENCE_S = 5.0
_KEY_CODES = ("UNAUTHENTICATED", "PERMISSION_DENIED")
# What gRPC says when the two ends do not speak the same TLS, or only one speaks it.
_TLS_TEXTS = ("ssl", "tls", "handshak", "certificate", "verification", "secure read")
_UNREACHABLE_TEXTS = ("failed to connect", "resolving", "socket closed")
# What it says of an address or of metadata that it does not even try to send.
_NO_ADDRESS = "failed to create channel"
_NO_METADATA = "invalid metadata"


class Check:
    """First calls to the target of an order."""

    def __init__(self, order: Order, wire: Wire) -> None:
        self._order = order
        self._wire = wire
        self._limit_s = max(_PATIENCE_S, order.scenario.deadline_s)

    def inspect(self, model: str) -> inference_pb2.ModelMetadataResponse:
        """Return what the target says about the tensors of a model.

        Raises:
            RunFailed: it says nothing.
        """
        body = inference_pb2.ModelMetadataRequest(name=model).SerializeToString()
        return inference_pb2.ModelMetadataResponse.FromString(self._answer(METADATA, body, model))

    def ask(self, method: str, body: bytes) -> bytes:
        """Return the answer to one unary call of any method.

        Raises:
            RunFailed: there is none.
        """
        return self._answer(method, body, self._order.model)

    def every_kind(self, payloads: Sequence[Payload]) -> None:
        """Make one call of every kind of request.

        Raises:
            RunFailed: one was not answered as it should be; the text says what to change.
        """
        for payload in first_of_each(payloads):
            call = self._wire.ask(payload, self._limit_s)
            code = outcome_of(call).code
            if code != 0:
                request = self._order.scenario.requests[payload.request]
                raise RunFailed(self._advice(call, code, request.model or self._order.model))

    def _answer(self, method: str, body: bytes, model: str) -> bytes:
        call = self._wire.ask(Payload(0, method, "unary", (body,), 0), self._limit_s)
        if call.code != 0:
            raise RunFailed(self._advice(call, call.code, model))
        return call.messages[0]

    def _advice(self, call: Call, code: int, model: str) -> str:
        name = code_name(code)
        detail = f"{name}: {call.detail}" if call.detail else name
        return f"{self._meaning(call, name, model)} ({detail})"

    def _meaning(self, call: Call, name: str, model: str) -> str:
        target, is_tls = self._order.target, self._order.security.is_tls
        method = call.payload.method.removeprefix("/")
        said = call.detail.lower()
        if _NO_ADDRESS in said:
            return f"{target!r} is no address; correct the target to HOST:PORT"
        if _NO_METADATA in said:
            return (
                "the metadata cannot be sent; names are of lower-case letters, digits, - _ and .,"
                " values of printable ASCII"
            )
        if name == "UNAVAILABLE" and is_tls and any(text in said for text in _TLS_TEXTS):
            return (
                f"{target} did not accept the TLS connection; correct the CA, the server name or"
                " the client's certificate, or leave TLS out"
            )
        if name in _KEY_CODES:
            return f"{target} refused the key or certificate; pass one that may call {method}"
        if name == "UNAVAILABLE" and any(text in said for text in _UNREACHABLE_TEXTS):
            return (
                f"nothing serves at {target} {'with' if is_tls else 'without'} TLS;"
                " start the server or correct the target"
            )
        advice = {
            "UNAVAILABLE": f"{target} takes no calls of {method} now; wait until it is ready",
            "DEADLINE_EXCEEDED": f"{target} gave no answer within {self._limit_s:g} s;"
            " correct the target or look at the server",
            "NOT_FOUND": f"{target} has no model called {model}; correct the model",
            "UNIMPLEMENTED": f"{target} does not serve {method}; correct the target, or `rpc`"
            " in the scenario",
            "WRONG_ANSWER": f"{target} did not answer what {method} was asked;"
            f" is {model} a model for `rpc` in the scenario?",
        }
        refused = f"{target} refused the first call of {method}; correct the scenario or the model"
        return advice.get(name, refused)


def first_of_each(payloads: Sequence[Payload]) -> Iterator[Payload]:
    """Yield the first payload of every kind of request."""
    seen = set()
    for payload in payloads:
        if payload.request not in seen:
            seen.add(payload.request)
            yield payload
