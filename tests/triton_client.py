"""What the scripts that run the official Triton client share. Runs in an environment of its own.

The client's protobuf definitions carry the same names as heed's: they cannot share a process.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

WAIT_S = 30
PLUGINS = {"plugin", "register_plugin", "unregister_plugin"}
"""Methods of the client that ask the server nothing."""

IDS = np.array([[2, 5, 6, 3], [2, 7, 3, 0]], np.int64)
ARRAYS = {
    "input_ids": IDS,
    "segment_ids": (IDS != 0).astype(np.int64),
    "position_ids": np.tile(np.arange(4), (2, 1)),
}
SLOW_ID = 62
"""Keeps a run busy for tens of milliseconds."""


class Recorded:
    """A client that knows which of its methods were used."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self._used: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self._used.add(name)
        return getattr(self.client, name)

    def unused(self) -> list[str]:
        """Return the public methods that nobody has asked for."""
        public = {
            name
            for name in dir(self.client)
            if not name.startswith("_") and callable(getattr(self.client, name))
        }
        return sorted(public - self._used - PLUGINS)


def inputs(module: Any, arrays: dict[str, NDArray[Any]] = ARRAYS) -> list[Any]:
    tensors = []
    for name, array in arrays.items():
        tensor = module.InferInput(name, array.shape, "INT64")
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    return tensors


def slow_inputs(module: Any) -> list[Any]:
    ids = np.full((1, 30), SLOW_ID, np.int64)
    arrays = {
        "input_ids": ids,
        "segment_ids": np.ones_like(ids),
        "position_ids": np.arange(30)[None],
    }
    return inputs(module, arrays)


def done(call: str) -> None:
    print("ok", call, flush=True)


def check_vectors(result: Any, request_id: str = "") -> None:
    vectors = result.as_numpy("sentence_embedding")
    assert vectors.shape == (2, 8)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)
    assert result.get_response().id == request_id


def check_classes(result: Any) -> None:
    classes = result.as_numpy("logits")
    assert classes.shape == (2, 3)
    for text in classes.ravel().tolist():
        value, index, label = text.decode().split(":")
        float(value)
        assert label == f"topic{index}"


def check_code(error: object, code: str) -> None:
    assert isinstance(error, InferenceServerException), error
    assert error.status() == f"StatusCode.{code}", error
