"""Whether an answer depends on where its input stands: alone, padded, packed, in a batch.

The session is compared with itself, so this needs nothing but the bundle. Batches come from what
its manifest promises about its inputs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.proof import batches
from export.proof.batches import Batch
from export.proof.case import Array, Feeds
from server.repository.contract import TOKEN_TYPES, require_text
from server.repository.manifest import Manifest, TensorSpec
from server.runtime.session import Session
from server.tensor import DTYPES

Values = NDArray[np.float32]

_SEED = 22
_ROWS = 3
_SAMPLES = 16_000
"""A free dimension of real values is sound: one second of it at 16 kHz."""
_TINY = 1e-12
_LARGEST_ID = 9
"""Ids of raw tensors are small ones, which every vocabulary has."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One batch against its inputs alone."""

    case: str
    answers: int
    difference: float
    """Length of the difference over length of the answer, the worst of all answers."""


def compare(session: Session, manifest: Manifest) -> Iterator[Compared]:
    """Yield every batch of the proof that holds padding or more than one input.

    Raises:
        RunFailed: ONNX Runtime reports an error.
    """
    if manifest.mask == "none":
        yield _compare_rows(session, manifest)
        return
    text = text_of(manifest)
    for batch in batches.batches(text):
        if batch.segment_ids.all() and len(batch.sequences) == 1:
            continue
        given = ask(session, batch.feeds)
        alone = [ask(session, batches.alone(text, one).feeds) for one in batch.sequences]
        pairs = [
            (placed, wanted)
            for spec in manifest.outputs
            for placed, wanted in zip(
                split(spec, given[spec.name], batch, text.mask_id),
                (_single(spec, answer[spec.name]) for answer in alone),
                strict=True,
            )
        ]
        yield Compared(batch.case, len(alone), _worst(pairs))


def text_of(manifest: Manifest) -> batches.Text:
    """Return what batches of text need to know of a bundle.

    Raises:
        BundleCorrupt: it takes no text.
    """
    text, limits = require_text(manifest)
    return batches.Text(
        limits.vocabulary,
        text.pad_id,
        text.position_offset,
        limits.max_tokens,
        has_types=any(spec.name == TOKEN_TYPES for spec in manifest.inputs),
        mask_id=text.mask_id if any(spec.per == "mask" for spec in manifest.outputs) else None,
    )


def rows_of(manifest: Manifest, rows: int = _ROWS) -> dict[str, Array]:
    """Return a batch of raw tensors: noise, small ids, and masks that hide nothing."""
    draw = np.random.default_rng(_SEED)
    # There is one free length, which a sound and its mask share.
    is_sound = any(_is_real(spec) and -1 in spec.shape[1:] for spec in manifest.inputs)
    length = _SAMPLES if is_sound else batches.LENGTH
    return {spec.name: _draw(draw, spec, rows, length) for spec in manifest.inputs}


def ask(session: Session, feeds: Feeds) -> Mapping[str, Array]:
    """Return the outputs of a run by name."""
    return dict(zip(session.output_names, session.run(feeds), strict=True))


def split(spec: TensorSpec, values: Array, batch: Batch, mask_id: int | None) -> Sequence[Array]:
    """Return the part of an output that answers each sequence of a batch."""
    match spec.per:
        case "sequence":
            return list(values)
        case "token":
            return [values[place] for place in batch.places]
        case _:
            counts = [np.count_nonzero(one.ids == mask_id) for one in batch.sequences]
            return np.split(values, np.cumsum(counts)[:-1])


def _single(spec: TensorSpec, values: Array) -> Array:
    """Return an output of a run of one sequence, without its axis of rows or sequences."""
    alone: Array = values if spec.per == "mask" else values[0]
    return alone


def _compare_rows(session: Session, manifest: Manifest) -> Compared:
    feeds = rows_of(manifest)
    given = ask(session, feeds)
    pairs = []
    for row in range(_ROWS):
        alone = ask(session, {name: part[row : row + 1] for name, part in feeds.items()})
        pairs += [(given[name][row], alone[name][0]) for name in session.output_names]
    return Compared(f"batch {_ROWS}", _ROWS, _worst(pairs))


def _is_real(spec: TensorSpec) -> bool:
    return spec.datatype.startswith("FP")


def _draw(draw: np.random.Generator, spec: TensorSpec, rows: int, length: int) -> Array:
    dtype = DTYPES[spec.datatype]
    sizes = [rows, *(length if size < 0 else size for size in spec.shape[1:])]
    if _is_real(spec):
        return draw.standard_normal(sizes).astype(dtype)
    if spec.name.endswith("_mask"):
        return np.ones(sizes, dtype)
    return draw.integers(1, _LARGEST_ID, sizes).astype(dtype)


def _worst(pairs: Sequence[tuple[Array, Array]]) -> float:
    if any(given.shape != wanted.shape for given, wanted in pairs):
        return float("inf")
    lengths = np.array([_length(wanted) for _, wanted in pairs])
    found = np.array(
        [_length(given.astype(np.float32) - wanted.astype(np.float32)) for given, wanted in pairs]
    )
    # Against the usual length too: the score of one label may be near 0.
    usual = float(np.sqrt(np.mean(np.square(lengths))))
    # NaN stays NaN.
    return float(np.max(found / np.maximum(lengths, max(usual, _TINY))))


def _length(values: Array) -> float:
    return float(np.linalg.norm(values.astype(np.float64).ravel()))
