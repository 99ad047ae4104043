"""An ONNX model as a runtime of MLServer, which ships none.

Imported by MLServer, in its environment.
"""

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse, MetadataTensor
from mlserver.utils import get_model_uri

DATATYPES = {"tensor(int64)": "INT64", "tensor(float)": "FP32"}


class OnnxModel(MLModel):  # type: ignore[misc]  # its package is not in this environment
    """Every input and output of the graph under its own name."""

    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            await get_model_uri(self._settings), options, providers=["CPUExecutionProvider"]
        )
        self.inputs = [described(one) for one in self.session.get_inputs()]
        self.outputs = [described(one) for one in self.session.get_outputs()]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        feeds = {one.name: NumpyCodec.decode_input(one) for one in payload.inputs}
        names = [one.name for one in self.session.get_outputs()]
        found: list[np.ndarray] = self.session.run(names, feeds)
        return InferenceResponse(
            id=payload.id,
            model_name=self.name,
            model_version=self.version,
            outputs=[
                NumpyCodec.encode_output(name, value)
                for name, value in zip(names, found, strict=True)
            ],
        )


def described(tensor: onnxruntime.NodeArg) -> MetadataTensor:
    shape = [size if isinstance(size, int) else -1 for size in tensor.shape]
    return MetadataTensor(name=tensor.name, datatype=DATATYPES[tensor.type], shape=shape)
