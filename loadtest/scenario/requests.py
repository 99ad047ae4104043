"""What the calls of a scenario ask for, as checked values: method, model, size, share."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from loadtest.scenario.lengths import Count, Lengths, LogNormal, Positive

Rpc = Literal[
    "embed",
    "rerank",
    "similarity",
    "classify",
    "token-classify",
    "answer-question",
    "fill-mask",
    "tokenize",
    "detokenize",
    "explain",
    "embed-stream",
    "rerank-stream",
    "classify-stream",
    "infer",
    "infer-stream",
]
"""heed.v1.TextService's methods by name; `infer` is ModelInfer of the Open Inference Protocol,
`infer-stream` its Triton extension ModelStreamInfer."""


class Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to fill one input of ModelInfer. What is not given comes from the model's metadata."""

    # -1 in the first place is the number of texts per call, elsewhere the drawn length.
    shape: tuple[Annotated[int, Meta(ge=-1)], ...] | None = None
    # Values are uniform over [low, high); whole numbers for whole types. What is not given follows
    # from the input's name and type.
    low: float | None = None
    high: float | None = None


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One kind of call in the mix."""

    rpc: Rpc = "embed"
    # Empty: the model named on the command line.
    model: str = ""
    # Share of the calls, relative to the other kinds.
    weight: Positive = 1.0
    # Texts, candidates or rows in one call; messages of one call for a stream.
    texts_per_call: Count = 1
    lengths: Lengths = LogNormal()
    # `infer` and `infer-stream` only: inputs by name.
    tensors: dict[str, Tensor] = {}
