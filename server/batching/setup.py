"""How the bundle of either kind is batched under a configuration, and what warms its session up.

Pure but for `open_...` and `warm_up`, which run the session.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from server.batching import plan
from server.batching.batcher import BatchOptions
from server.batching.choice import ONE_CORE, Choice
from server.batching.cost import Cost
from server.batching.layout import Answer, U
from server.batching.measure import measure, one_sequence, row_runs, sequence_runs
from server.batching.packing import TokenSequence
from server.batching.request_queue import QueueLimits
from server.batching.row_layout import Row, RowLayout
from server.batching.sequence_layout import SequenceLayout
from server.batching.sessions import Opened
from server.config import ServerConfig
from server.errors import BundleCorrupt, RunFailed
from server.repository.contract import require_text
from server.repository.manifest import Manifest, TensorSpec
from server.runtime.session import Session
from server.tensor import DTYPES

UNPACKED = {"padded": plan.padded, "sorted": plan.sorted_padded}
PADDED_BATCH_ROWS = 16
"""Rows in one run with padded batching, unless configured."""


def open_sequences(
    opened: Opened, manifest: Manifest, config: ServerConfig
) -> BatchOptions[TokenSequence]:
    """Warm up the sessions of a text bundle, and return how it is batched at what runs cost.

    Raises:
        BundleCorrupt: see `warm_up` and `measure`.
    """
    choice = opened.choice
    options = sequence_options(manifest, config, choice)
    for session in opened.sessions:
        samples = sequence_samples(manifest, options.budget)
        warm_up(session, options, manifest.outputs, samples)
    if choice.cost is None:
        text, limits = require_text(manifest)
        runs = sequence_runs(text, limits, _budget(manifest, config, choice))
        cost = measure(opened.sessions[0], options.layout, runs)
        options = sequence_options(manifest, config, replace(choice, cost=cost))
    return options


def open_rows(opened: Opened, manifest: Manifest, config: ServerConfig) -> BatchOptions[Row]:
    """Warm up the sessions of a bundle of whole rows, and return how it is batched; as above.

    Where a shape is free no run is known to work, and the cost stays what it is assumed to be.
    """
    choice = opened.choice
    options = row_options(manifest, config, choice)
    for session in opened.sessions:
        warm_up(session, options, manifest.outputs, row_samples(manifest, options.budget))
    if choice.cost is None:
        one = next(row_samples(manifest, 1), None)
        runs = row_runs(one[0], options.budget) if one else []
        cost = measure(opened.sessions[0], options.layout, runs)
        options = row_options(manifest, config, replace(choice, cost=cost))
    return options


def sequence_options(
    manifest: Manifest, config: ServerConfig, choice: Choice = ONE_CORE
) -> BatchOptions[TokenSequence]:
    """Return how a text bundle is batched."""
    text, limits = require_text(manifest)
    budget = _budget(manifest, config, choice)
    cost = choice.cost or Cost.assumed(manifest.hidden_size)
    if config.batching == "packed":
        planner = plan.packed(cost, manifest.sessions[config.provider].min_row_tokens)
    else:
        rows = config.max_batch_rows or PADDED_BATCH_ROWS
        planner, budget = UNPACKED[config.batching](rows), rows * limits.max_tokens
    layout = SequenceLayout(
        planner,
        manifest.outputs,
        text.pad_id,
        text.mask_id,
        has_types=any(spec.name == "token_type_ids" for spec in manifest.inputs),
    )
    return BatchOptions(layout, budget, cost, **_service(config))


def _budget(manifest: Manifest, config: ServerConfig, choice: Choice) -> int:
    return (
        config.max_batch_tokens
        or choice.max_batch_tokens
        or manifest.sessions[config.provider].max_batch_tokens
    )


def row_options(
    manifest: Manifest, config: ServerConfig, choice: Choice = ONE_CORE
) -> BatchOptions[Row]:
    """Return how a bundle of whole rows is batched."""
    layout = RowLayout(
        [spec.name for spec in manifest.inputs], [spec.name for spec in manifest.outputs]
    )
    budget = config.max_batch_rows or manifest.sessions[config.provider].max_batch_rows
    cost = choice.cost or Cost.assumed(manifest.hidden_size)
    return BatchOptions(layout, budget, cost, **_service(config))


def _service(config: ServerConfig) -> dict[str, Any]:
    """Return what the configuration says about order and deadlines."""
    return {
        "max_delay_s": config.max_batch_delay_ms / 1000,
        "num_levels": config.priority_levels,
        "ageing_s": config.ageing_s,
        "predict": config.predict,
    }


def queue_limits(manifest: Manifest, config: ServerConfig) -> QueueLimits:
    """Return how much may wait for a bundle."""
    if manifest.mask == "none":
        return QueueLimits(config.max_queue_requests, config.max_queue_rows, "rows")
    return QueueLimits(config.max_queue_requests, config.max_queue_tokens)


def sequence_samples(manifest: Manifest, budget: int) -> Iterator[list[TokenSequence]]:
    """Yield the shortest and the largest batch, as units that wait."""
    text, limits = require_text(manifest)
    for length in (1, min(limits.max_tokens, budget)):
        yield [one_sequence(text, length)] * max(1, budget // length if length > 1 else 1)


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
        planned = layout.plan(waiting, options.budget)
        units, layout_plan = [waiting[index] for index in planned.chosen], planned.renumbered()
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
