"""Explanations to messages."""

from collections.abc import Sequence

from protos.heed.v1 import text_pb2 as pb
from server.errors import InvalidRequest
from server.rpc.text_messages import add_floats, tokens
from server.tasks.explain import Explained
from server.text.attention import Method

METHODS = {
    pb.EXPLAIN_METHOD_UNSPECIFIED: Method.MEAN,
    pb.EXPLAIN_METHOD_LAYERS_HEADS: Method.LAYERS_HEADS,
    pb.EXPLAIN_METHOD_MEAN: Method.MEAN,
    pb.EXPLAIN_METHOD_ROLLOUT: Method.ROLLOUT,
}

_WEIGHTS = pb.AttentionMap.DESCRIPTOR.fields_by_name["weights"].number


def method(value: pb.ExplainMethod) -> Method:
    """Return the method that a request asks for.

    Raises:
        InvalidRequest: there is none of this number.
    """
    if value not in METHODS:
        raise InvalidRequest(f"method {value} is unknown; use 0 to {max(METHODS)}")
    return METHODS[value]


def response(explained: Sequence[Explained]) -> pb.ExplainResponse:
    """Return the explanations as a message; the caller adds names and timings."""
    answer = pb.ExplainResponse()
    for one in explained:
        explanation = answer.explanations.add(truncated=one.tokenized.truncated)
        explanation.tokens.extend(tokens(one.tokenized))
        for attention_map in one.maps:
            message = explanation.maps.add(layer=attention_map.layer, head=attention_map.head)
            add_floats(message, _WEIGHTS, attention_map.weights)
    return answer
