"""Full names of the methods that are called."""

from typing import Final

TEXT: Final = "/heed.v1.TextService/"
"""Followed by the method's name."""
TOKENIZE: Final = TEXT + "Tokenize"
DETOKENIZE: Final = TEXT + "Detokenize"

_INFERENCE: Final = "/inference.GRPCInferenceService/"
METADATA: Final = _INFERENCE + "ModelMetadata"
CONFIG: Final = _INFERENCE + "ModelConfig"
INFER: Final = _INFERENCE + "ModelInfer"
INFER_STREAM: Final = _INFERENCE + "ModelStreamInfer"
