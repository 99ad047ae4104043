"""Seeded arrays for the inputs of raw-tensor models: noise for proofs, smoother data for quality.

Noise reaches every weight and hides nothing. The smoother data stands in for photographs and
recordings, of which none are shipped: neighbours resemble each other as they do in nature, whose
amplitudes fall with frequency. Pure, no torch.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.kinds.shapes import FREE, RawInputs, Tokens
from export.proof.case import Array, Feeds

_SEED = 20
_LEAST_FILLED = 0.4
"""Rows that end early are filled at least this far."""

Shape = tuple[int, ...]
Values = Callable[[Shape], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class _Batch:
    """What all inputs of one batch share."""

    rows: int
    length: int
    filled: NDArray[np.float64]
    """(rows, 2): share of each row, or of its height and width, that is no padding."""
    draw: np.random.Generator


def noise(inputs: RawInputs, rows: int, length: int) -> Feeds:
    """Return one batch; the first row is whole, the others end early where padding can be told."""
    draw = np.random.default_rng([_SEED, rows, length])
    filled = draw.uniform(_LEAST_FILLED, 1, (rows, 2))
    filled[0] = 1
    return _fill(inputs, _Batch(rows, length, filled, draw), draw.standard_normal)


def whole(inputs: RawInputs, rows: int, length: int) -> Feeds:
    """Return one batch without padding."""
    draw = np.random.default_rng([_SEED, rows, length])
    return _fill(inputs, _Batch(rows, length, np.ones((rows, 2)), draw), draw.standard_normal)


def smooth(inputs: RawInputs, number: int, length: int) -> Iterator[Feeds]:
    """Yield single whole rows whose neighbouring values resemble each other."""
    draw = np.random.default_rng(_SEED)
    for _ in range(number):
        batch = _Batch(1, length, np.ones((1, 2)), draw)
        yield _fill(inputs, batch, lambda shape: _pink(draw, shape))


def text(inputs: RawInputs, ids: Sequence[int]) -> Feeds:
    """Return one text as a row, padded where the model takes whole rows."""
    assert inputs.tokens is not None
    size = inputs.inputs[0].shape[0]
    row = np.full((1, len(ids) if size == FREE else size), inputs.tokens.pad_id, np.int64)
    row[0, : len(ids)] = ids
    feeds: dict[str, Array] = {"input_ids": row}
    if "attention_mask" in inputs.names:
        feeds["attention_mask"] = np.ones_like(row)
    return feeds


def _fill(inputs: RawInputs, batch: _Batch, values: Values) -> Feeds:
    feeds: dict[str, Array] = {}
    for part in inputs.inputs:
        shape = (batch.rows, *(batch.length if size == FREE else size for size in part.shape))
        if part.name.endswith("_mask"):
            feeds[part.name] = _mask(shape, batch)
        elif inputs.tokens is not None:
            feeds[part.name] = _ids(shape, batch, inputs.tokens)
        else:
            feeds[part.name] = values(shape).astype(np.float32)
    if "pixel_mask" in feeds:
        _silence(feeds, "pixel_values", feeds["pixel_mask"][:, None])
    elif "attention_mask" in feeds and inputs.tokens is None:
        _silence(feeds, "input_values", feeds["attention_mask"])
    return feeds


def _silence(feeds: dict[str, Array], name: str, mask: Array) -> None:
    """Set padding to zero, as processors do."""
    feeds[name] = np.where(mask, feeds[name], np.float32(0))


def _mask(shape: Shape, batch: _Batch) -> NDArray[np.int64]:
    """Return 1 for what is filled from the left, or from the left and the top."""
    mask = np.zeros(shape, np.int64)
    for row, share in enumerate(batch.filled):
        ends = [_end(share[axis], size) for axis, size in enumerate(shape[1:])]
        mask[row][tuple(slice(end) for end in ends)] = 1
    return mask


def _ids(shape: Shape, batch: _Batch, tokens: Tokens) -> NDArray[np.int64]:
    """Return texts that end with the id that ends texts, and padding."""
    drawn = batch.draw.integers(0, tokens.vocabulary, shape, dtype=np.int64)
    # An earlier end would be another place to pool at.
    ids = np.where(drawn == tokens.end_id, tokens.pad_id, drawn)
    for row, share in enumerate(batch.filled):
        end = _end(share[0], shape[1])
        ids[row, end - 1] = tokens.end_id
        ids[row, end:] = tokens.pad_id
    return ids


def _end(share: float, size: int) -> int:
    return max(1, round(share * size))


def _pink(draw: np.random.Generator, shape: Shape) -> NDArray[np.float64]:
    """Return noise whose amplitudes fall with the inverse of the frequency over the last axes.

    Two axes for images and spectra, one for sound; mean 0 and deviation 1, as processors leave it.
    """
    axes = tuple(range(len(shape)))[-2:] if len(shape) > 2 else (1,)  # noqa: PLR2004
    frequencies = np.meshgrid(*(np.fft.fftfreq(shape[axis]) for axis in axes), indexing="ij")
    distance = np.sqrt(sum(np.square(axis) for axis in frequencies))
    amplitude = 1 / np.maximum(distance, 1 / max(shape[axis] for axis in axes))
    spectrum = np.fft.fftn(draw.standard_normal(shape), axes=axes) * amplitude
    field = np.fft.ifftn(spectrum, axes=axes).real
    centred = field - field.mean(axis=axes, keepdims=True)
    result: NDArray[np.float64] = centred / centred.std(axis=axes, keepdims=True)
    return result
