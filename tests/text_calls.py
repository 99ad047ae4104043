"""Calls of the text service, and what the graph alone says about a text."""

from pathlib import Path
from typing import Any

import bundles
import grpc
import numpy as np
import pytest
import tensors
from google.protobuf.message import Message
from loopback import Target
from numpy.typing import NDArray


def call(target: Target, method: str, request: Message) -> Any:
    """Return the answer to a call."""
    with target.text() as stub:
        return getattr(stub, method)(request, timeout=30)


def refused(target: Target, method: str, request: Message) -> tuple[str, str]:
    """Return status and message of a call that fails."""
    with pytest.raises(grpc.RpcError) as caught:
        call(target, method, request)
    assert isinstance(caught.value, grpc.Call)
    return caught.value.code().name, str(caught.value.details())


def alone(
    bundle: Path, text: str, pair: str | None = None, *, types: bool = False
) -> dict[str, NDArray[Any]]:
    """Return what the graph of a tiny bundle says about one text or pair in a run of its own."""
    encoding = bundles.tokenizer().encode(text, pair)
    ids = np.array([encoding.ids])
    arrays = {
        "input_ids": ids,
        "segment_ids": np.ones_like(ids),
        "position_ids": np.arange(ids.shape[1])[None],
    }
    if types:
        arrays["token_type_ids"] = np.array([encoding.type_ids])
    return {name: array[0] for name, array in tensors.direct(bundle, arrays).items()}


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Return probabilities over the last axis, by the definition."""
    exponents = np.exp(logits.astype(np.float64))
    return np.asarray(exponents / exponents.sum(axis=-1, keepdims=True))
