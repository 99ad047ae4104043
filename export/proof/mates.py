"""Whether an answer depends on what else is in its batch, to the last bit.

The same batch runs twice; one input stays where it is, all others are replaced. Whoever sent the
one must not be able to tell. ONNX Runtime's own dynamic quantisation fails here: it takes one scale
from the whole batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.proof import batches
from export.proof.alone import ask, rows_of, split, text_of
from export.proof.batches import Batch, Ids, Text
from export.proof.case import Array
from server.repository.manifest import Manifest
from server.runtime.session import Session

_SEED = 23
_FACTOR = -3.0
"""What real values of the others are multiplied by: more reach, other signs."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One batch: how many answers stayed as they were when all others changed."""

    case: str
    answers: int
    same: int


def replace_mates(session: Session, manifest: Manifest) -> Iterator[Kept]:
    """Yield every batch of the proof that holds more than one input.

    Raises:
        RunFailed: ONNX Runtime reports an error.
    """
    if manifest.mask == "none":
        yield _replace_rows(session, manifest)
        return
    text = text_of(manifest)
    for batch in batches.batches(text):
        if len(batch.sequences) > 1:
            yield _replace_sequences(session, manifest, batch, text)


def _replace_sequences(session: Session, manifest: Manifest, batch: Batch, text: Text) -> Kept:
    before = ask(session, batch.feeds)
    same = 0
    for kept in range(len(batch.sequences)):
        changed = replace(batch, input_ids=_others(batch, kept, text))
        after = ask(session, changed.feeds)
        same += all(
            _equal(
                split(spec, before[spec.name], batch, text.mask_id)[kept],
                split(spec, after[spec.name], batch, text.mask_id)[kept],
            )
            for spec in manifest.outputs
        )
    return Kept(batch.case, len(batch.sequences), same)


def _others(batch: Batch, kept: int, text: Text) -> Ids:
    """Return the ids of a batch with every sequence but one replaced; masks stay masks."""
    draw = np.random.default_rng([_SEED, kept])
    drawn = draw.integers(0, text.vocabulary - 1, batch.input_ids.shape)
    drawn = np.where(drawn >= text.pad_id, drawn + 1, drawn)
    fixed = (batch.segment_ids == 0) | (batch.input_ids == text.mask_id)
    fixed[batch.places[kept]] = True
    if text.mask_id is not None:
        # A new mask would ask for one more answer.
        fixed |= drawn == text.mask_id
    return np.where(fixed, batch.input_ids, drawn)


def _replace_rows(session: Session, manifest: Manifest) -> Kept:
    feeds = rows_of(manifest)
    before = ask(session, feeds)
    rows = len(next(iter(feeds.values())))
    same = 0
    for kept in range(rows):
        after = ask(session, {name: _other_rows(part, kept) for name, part in feeds.items()})
        same += all(_equal(before[name][kept], after[name][kept]) for name in before)
    return Kept(f"batch {rows}", rows, same)


def _other_rows(values: Array, kept: int) -> Array:
    others: NDArray[Any] = np.flip(values, axis=-1)
    if np.issubdtype(values.dtype, np.floating):
        others = (others * _FACTOR).astype(values.dtype)
    others = others.copy()
    others[kept] = values[kept]
    return others


def _equal(before: Array, after: Array) -> bool:
    return before.shape == after.shape and before.tobytes() == after.tobytes()
