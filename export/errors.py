"""Why an export stops, in words that say what to change.

Each message is one sentence for the person at the command line; `export.cli` prints it and ends
with exit code 1. No bundle exists afterwards.
"""


class ExportFailed(Exception):
    """Base of every reason not to publish a bundle."""


class CheckpointNotFound(ExportFailed):
    """MODEL is no directory, no reachable hub id and no installed package."""


class CheckpointUnsupported(ExportFailed):
    """The checkpoint asks for something that the exported graph would not do."""


class LoweringRefused(ExportFailed):
    """An attention module asks for something that the fused operator would silently ignore."""


class ConversionFailed(ExportFailed):
    """PyTorch cannot trace the module or write it as ONNX."""


class ContractBroken(ExportFailed):
    """The graph does not hold one fused node for each attention module."""


class ParityBroken(ExportFailed):
    """The session as served does not reproduce the PyTorch model."""


class VersionExists(ExportFailed):
    """The repository already holds this version of the bundle."""


class EvalFileInvalid(ExportFailed):
    """The evaluation file is not what its task needs; names file, line and field."""


class SlowerThanUnfused(ExportFailed):
    """No fused form of the graph is as fast as the same model with its attention in pieces."""


class QualityBelowBudget(ExportFailed):
    """The precision costs more quality than is allowed, whatever layers stay in float."""
