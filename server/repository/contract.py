"""What a manifest must hold for its task to be served: one function, called once, when it is read.

Pure. Each message names the field, so that an export can be mended.
"""

from collections.abc import Iterator, Sequence

from server.errors import BundleCorrupt
from server.repository.manifest import Limits, Manifest, Task, TensorSpec, TextFiles

TEXT_TASKS: frozenset[Task] = frozenset(
    {
        "embed",
        "sparse-embed",
        "rerank",
        "classify",
        "token-classify",
        "question-answer",
        "fill-mask",
    }
)
"""Tasks of packed sequences; every other task takes whole rows."""

SEQUENCE_INPUTS = ("input_ids", "segment_ids", "position_ids")
TOKEN_TYPES = "token_type_ids"  # noqa: S105 - an input
NUM_TOKEN_TYPES = 2
"""Token types lie in 0..1: the first text and the second."""

_ANSWERS: dict[Task, tuple[str, ...]] = {
    "embed": ("sequence",),
    "sparse-embed": ("sequence",),
    "rerank": ("sequence",),
    "classify": ("sequence",),
    "token-classify": ("token",),
    "question-answer": ("token", "token"),
    "fill-mask": ("mask",),
    "image-classify": ("row",),
    "detect": ("row", "row"),
    "segment": ("row",),
    "tensors": ("row",),
}
"""What the first outputs of a task count; more may follow."""

_LABELLED: frozenset[Task] = frozenset(
    {"rerank", "classify", "token-classify", "image-classify", "detect", "segment"}
)
_LABELS_LAST: frozenset[Task] = frozenset(
    {"rerank", "classify", "token-classify", "image-classify"}
)
"""Tasks whose first output has one value for each label on its last axis."""

_UNSERVED = frozenset({"BF16", "BYTES"})
"""Datatypes that NumPy does not have, so that no array can carry them to the runtime."""


def require_complete(manifest: Manifest) -> None:
    """Check everything that the task of a bundle needs.

    Raises:
        BundleCorrupt: names the first field that is missing or says something else.
    """
    problem = next(_problems(manifest), None)
    if problem is not None:
        raise BundleCorrupt(f"{problem}; export the bundle again")


def require_text(manifest: Manifest) -> tuple[TextFiles, Limits]:
    """Return tokenizer facts and limits of a text bundle.

    Raises:
        BundleCorrupt: it has none.
    """
    if manifest.text is None or manifest.limits is None:
        missing = "text" if manifest.text is None else "limits"
        raise BundleCorrupt(f"{missing} is missing, which task {manifest.task} needs")
    return manifest.text, manifest.limits


def _problems(manifest: Manifest) -> Iterator[str]:
    mask = "segment_ids" if manifest.task in TEXT_TASKS else "none"
    if manifest.mask != mask:
        yield f"mask is {manifest.mask}; task {manifest.task} needs {mask}"
    for kind, specs in (("inputs", manifest.inputs), ("outputs", manifest.outputs)):
        names = [spec.name for spec in specs]
        if not names or len(set(names)) < len(names):
            yield f"{kind} is empty or names a tensor twice"
    yield from _text_problems(manifest) if mask == "segment_ids" else _row_problems(manifest)
    yield from _answer_problems(manifest)
    yield from _label_problems(manifest)
    for field, name in (
        ("text.tokenizer", manifest.text and manifest.text.tokenizer),
        ("processor", manifest.processor),
        ("explain.model", manifest.explain and manifest.explain.model),
    ):
        if name is not None and name not in manifest.files:
            yield f"files has no digest for {name}, which {field} names"


def _text_problems(manifest: Manifest) -> Iterator[str]:
    text, limits = require_text(manifest)
    given = {spec.name for spec in manifest.inputs}
    if given - {TOKEN_TYPES} != set(SEQUENCE_INPUTS):
        yield f"inputs must be {', '.join(SEQUENCE_INPUTS)}, with or without {TOKEN_TYPES}"
    for spec in manifest.inputs:
        if spec.datatype != "INT64" or spec.shape != (-1, -1):
            yield f"input {spec.name} must be INT64 of shape [-1, -1]"
    for spec in manifest.outputs:
        if spec.per == "row":
            yield f"output {spec.name} is per row, but rows hold several sequences"
    if text.pad_id >= limits.vocabulary:
        yield f"text.pad_id must lie below limits.vocabulary, {limits.vocabulary}"
    if text.position_offset + limits.max_tokens > limits.max_position:
        yield "limits.max_tokens positions from text.position_offset on exceed limits.max_position"
    # Padding with the mask token would be answered too.
    can_mask = text.mask_id not in {None, text.pad_id} and (text.mask_id or 0) < limits.vocabulary
    if any(spec.per == "mask" for spec in manifest.outputs) and not can_mask:
        yield "text.mask_id must be a token of the vocabulary other than text.pad_id"


def _row_problems(manifest: Manifest) -> Iterator[str]:
    if manifest.text is not None or manifest.pooling is not None:
        yield f"text and pooling belong to text tasks, not to {manifest.task}"
    for spec in manifest.inputs:
        if spec.shape[:1] != (-1,) or 0 in spec.shape:
            yield f"input {spec.name} must have a free first dimension, the rows, and no empty one"
        if spec.datatype in _UNSERVED:
            yield f"input {spec.name} is {spec.datatype}, which is not served"


def _answer_problems(manifest: Manifest) -> Iterator[str]:
    expected = _ANSWERS[manifest.task]
    if tuple(spec.per for spec in manifest.outputs[: len(expected)]) != expected:
        begin = " and ".join(f"one per {per}" for per in expected)
        yield f"outputs of task {manifest.task} must begin with {begin}"
    for spec in manifest.outputs:
        axes = (-1, -1) if spec.per == "token" else (-1,)
        if spec.shape[: len(axes)] != axes:
            yield f"output {spec.name} per {spec.per} must have shape {[*axes, '...']}"
        if spec.datatype in _UNSERVED:
            yield f"output {spec.name} is {spec.datatype}, which is not served"
    if manifest.task == "embed" and manifest.pooling is None:
        yield "pooling is missing, which task embed needs"
    if manifest.pooling is not None and _last(manifest.outputs) != manifest.pooling.dimensions:
        yield f"pooling.dimensions is not the last dimension of output {manifest.outputs[0].name}"


def _label_problems(manifest: Manifest) -> Iterator[str]:
    labels = manifest.labels
    if labels is None:
        if manifest.task in _LABELLED:
            yield f"labels is missing, which task {manifest.task} needs"
        return
    last = _last(manifest.outputs)
    if manifest.task in _LABELS_LAST and last not in {-1, len(labels.names)}:
        yield f"labels.names has {len(labels.names)} entries for {last} values of the first output"
    if labels.thresholds and len(labels.thresholds) != len(labels.names):
        yield "labels.thresholds has not one entry for each of labels.names"


def _last(outputs: Sequence[TensorSpec]) -> int:
    return outputs[0].shape[-1]
