"""How the bundle of either kind is batched under a configuration, and what warms its session up.

Pure but for `warm_up`, which runs the session.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from server.batching import plan
from server.batching.batcher import BatchOptions
from server.batching.cost import Cost
from server.batching.layout import Answer, U
from server.batching.packing import TokenSequence
from server.batching.request_queue import QueueLimits
from server.batching.row_layout import Row, RowLayout
from server.batching.sequence_layout import SequenceLayout
from server.config import ServerConfig
from server.errors import BundleCorrupt, RunFailed
from server.repository.contract import require_text
from server.repository.manifest import Manifest, TensorSpec
from server.runtime.session import Session
from server.tensor import DTYPES

PADDED_BATCH_ROWS = 16
"""Rows in one run with padded batching, unless configured."""


def sequence_options(manifest: Manifest, config: ServerConfig) -> BatchOptions[TokenSequence]:
    """Return how a text bundle is batched."""
    text, limits = require_text(manifest)
    options = manifest.sessions[config.provider]
    budget = config.max_batch_tokens or options.max_batch_tokens
    if config.batching == "padded":
        rows = config.max_batch_rows or PADDED_BATCH_ROWS
        planner, budget = plan.padded(rows), rows * limits.max_tokens
    else:
        planner = plan.packed(Cost.of_transformer(manifest.hidden_size), options.min_row_tokens)
    layout = SequenceLayout(
        planner,
        manifest.outputs,
        text.pad_id,
        text.mask_id,
        has_types=any(spec.name == "token_type_ids" for spec in manifest.inputs),
    )
    return BatchOptions(layout, budget)


def row_options(manifest: Manifest, config: ServerConfig) -> BatchOptions[Row]:
    """Return how a bundle of whole rows is batched."""
    layout = RowLayout(
        [spec.name for spec in manifest.inputs], [spec.name for spec in manifest.outputs]
    )
    return BatchOptions(
        layout, config.max_batch_rows or manifest.sessions[config.provider].max_batch_rows
    )


def queue_limits(manifest: Manifest, config: ServerConfig) -> QueueLimits:
    """Return how much may wait for a bundle."""
    if manifest.mask == "none":
        return QueueLimits(config.max_queue_requests, config.max_queue_rows, "rows")
    return QueueLimits(config.max_queue_requests, config.max_queue_tokens)


def sequence_samples(manifest: Manifest, budget: int) -> Iterator[list[TokenSequence]]:
    """Yield the shortest and the largest batch, as units that wait."""
    text, limits = require_text(manifest)
    first = text.position_offset
    for length in (1, min(limits.max_tokens, budget)):
        ids = np.full(length, text.pad_id, np.int64)
        if text.mask_id is not None:
            ids[0] = text.mask_id
        one = TokenSequence(ids, np.arange(first, first + length, dtype=np.int64))
        yield [one] * max(1, budget // length if length > 1 else 1)


def row_samples(manifest: Manifest, budget: int) -> Iterator[list[Row]]:
    """Yield one row and a full run; nothing where a shape is free, as no size is known to work."""
    shapes = tuple(spec.shape[1:] for spec in manifest.inputs)
    if any(dimension < 0 for shape in shapes for dimension in shape):
        return
    zeros = tuple(
        np.zeros((1, *shape), DTYPES[spec.datatype])
        for spec, shape in zip(manifest.inputs, shapes, strict=True)
    )
    for count in (1, budget):
        yield [Row(zeros, shapes)] * count


def warm_up(
    session: Session,
    options: BatchOptions[U],
    outputs: Sequence[TensorSpec],
    samples: Iterator[list[U]],
) -> None:
    """Run the samples, so that no caller pays for first allocations or meets a broken graph.

    Raises:
        BundleCorrupt: the graph fails on them or answers something else than the manifest says.
    """
    layout = options.layout
    for waiting in samples:
        layout_plan = layout.plan(waiting, options.budget)
        units = waiting[: layout_plan.num_units]
        try:
            arrays = session.run(layout.pack(units, layout_plan), layout.output_names)
            answers = layout.scatter(arrays, units, layout_plan)
        except (RunFailed, ValueError) as error:
            raise BundleCorrupt(f"the first run failed: {error}") from error
        _check_answer(outputs, answers[0])


def _check_answer(outputs: Sequence[TensorSpec], answer: Answer) -> None:
    for spec, array in zip(outputs, answer, strict=True):
        # A sequence's part has lost the first axis; a row is one of one, mask tokens are several.
        promised = spec.shape[1:] if spec.per in {"sequence", "token"} else spec.shape
        fits = len(promised) == array.ndim and all(
            expected in {-1, found} for expected, found in zip(promised, array.shape, strict=True)
        )
        if not fits or array.dtype != DTYPES[spec.datatype]:
            raise BundleCorrupt(
                f"output '{spec.name}' is promised as {spec.datatype} {list(spec.shape)}, the "
                f"graph answers {array.dtype} {list(array.shape)} per {spec.per}"
            )
