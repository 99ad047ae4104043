"""Inputs to measure time with, from nothing but what a bundle promises about its inputs."""

from collections.abc import Mapping

import numpy as np

from export.kinds.kind import Interface
from export.proof import batches
from export.proof.case import Array
from export.proof.speed import SHAPES, Shape
from server.repository.manifest import TensorSpec
from server.tensor import DTYPES

_SEED = 21
_FREE_SAMPLES = 16_000
"""A free dimension of real values is sound: one second of it at 16 kHz."""
_TENSOR_SHAPES = (Shape(1, 0), Shape(4, 0))
"""One input alone and a small batch; the length is the model's own."""


def shapes(interface: Interface) -> tuple[Shape, ...]:
    """Return the sizes of the runs that are measured."""
    if interface.limits is None or interface.text is None:
        return _TENSOR_SHAPES
    most = interface.limits.max_tokens
    cut = (Shape(shape.rows, min(shape.length, most)) for shape in SHAPES)
    return tuple(dict.fromkeys(cut))


def feeds(interface: Interface, shape: Shape) -> Mapping[str, Array]:
    """Return one run of whole rows."""
    if interface.limits is None or interface.text is None:
        draw = np.random.default_rng(_SEED)
        free = _free_length(interface)
        return {spec.name: _draw(draw, spec, shape.rows, free) for spec in interface.inputs}
    text = batches.Text(
        interface.limits.vocabulary,
        interface.text.pad_id,
        interface.text.position_offset,
        interface.limits.max_tokens,
        has_types=any(spec.name == "token_type_ids" for spec in interface.inputs),
        mask_id=interface.text.mask_id,
    )
    return batches.whole_rows(text, shape.rows, shape.length).feeds


def _free_length(interface: Interface) -> int:
    """Return one size for all free dimensions: a mask is as long as what it masks."""
    sound = any(_is_real(spec) and -1 in spec.shape[1:] for spec in interface.inputs)
    return _FREE_SAMPLES if sound else batches.LENGTH


def _is_real(spec: TensorSpec) -> bool:
    return spec.datatype.startswith("FP")


def _draw(draw: np.random.Generator, spec: TensorSpec, rows: int, free: int) -> Array:
    sizes = [rows, *(free if size < 0 else size for size in spec.shape[1:])]
    dtype = DTYPES[spec.datatype]
    # Ones are a valid id, a valid mask and a valid flag.
    return draw.normal(size=sizes).astype(dtype) if _is_real(spec) else np.ones(sizes, dtype)
