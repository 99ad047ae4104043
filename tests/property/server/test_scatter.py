"""Scattering: whatever shares a run, every unit gets back what is its own."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from server.batching.cost import Cost
from server.batching.packing import TokenSequence, places
from server.batching.plan import Plan, Planner, packed, padded
from server.batching.row_layout import Row, RowLayout
from server.batching.sequence_layout import SequenceLayout
from server.repository.manifest import TensorSpec

PAD_ID, MASK_ID = 0, 1
OUTPUTS = (
    TensorSpec("sums", "FP32", (-1, 2), "sequence"),
    TensorSpec("tokens", "FP32", (-1, -1, 3), "token"),
    TensorSpec("scalars", "FP32", (-1, -1), "token"),
    TensorSpec("masks", "FP32", (-1, 1), "mask"),
)
# Few ids, so that sequences with no mask token and with only mask tokens both occur.
SEQUENCES = st.lists(
    st.lists(st.integers(MASK_ID, 4), min_size=1, max_size=12), min_size=1, max_size=20
)
PLANNERS = st.sampled_from([packed(Cost.assumed(64), 16), padded(4)])


def sequence(ids: Sequence[int]) -> TokenSequence:
    """A sequence whose positions and types follow from its ids, so that a mix-up shows."""
    array = np.array(ids, np.int64)
    return TokenSequence(array, array * 7, array % 2)


def graph(feeds: Mapping[str, NDArray[np.generic]]) -> list[NDArray[np.generic]]:
    """Answer packed rows as a graph would: by segment, by token and by mask token."""
    ids, segments = feeds["input_ids"].astype(np.int64), feeds["segment_ids"].astype(np.int64)
    positions, types = feeds["position_ids"], feeds["token_type_ids"]
    sums = [[ids[row][here].sum(), here.sum()] for row, here in places(segments)]
    tokens = np.stack([ids, positions, types], axis=-1)
    return [np.array(sums), tokens, ids * 3, positions[ids == MASK_ID][:, np.newaxis]]


@given(SEQUENCES, PLANNERS, st.integers(1, 128))
def test_every_sequence_gets_its_own_part(
    lists: list[list[int]], planner: Planner, budget: int
) -> None:
    layout = SequenceLayout(planner, OUTPUTS, PAD_ID, MASK_ID, has_types=True)
    waiting = [sequence(ids) for ids in lists]
    chosen = layout.plan(waiting, budget)
    units, plan = [waiting[index] for index in chosen.chosen], chosen.renumbered()

    answers = layout.scatter(graph(layout.pack(units, plan)), units, plan)

    for unit, (sums, tokens, scalars, masks) in zip(units, answers, strict=True):
        ids = unit.input_ids
        np.testing.assert_array_equal(sums, [ids.sum(), len(ids)])
        np.testing.assert_array_equal(tokens, np.stack([ids, ids * 7, ids % 2], axis=-1))
        np.testing.assert_array_equal(scalars, ids * 3)
        np.testing.assert_array_equal(masks[:, 0], ids[ids == MASK_ID] * 7)


@pytest.mark.parametrize(
    ("per", "shape"), [("sequence", (3,)), ("token", (2, 5)), ("mask", (0,)), ("row", (1,))]
)
def test_output_that_does_not_fit_the_run_is_an_error(per: str, shape: tuple[int, ...]) -> None:
    spec = TensorSpec("wrong", "FP32", (-1,), per)  # type: ignore[arg-type]  # one of its literals
    layout = SequenceLayout(padded(4), (spec,), PAD_ID, MASK_ID)
    units = [sequence([MASK_ID, 2, 3]), sequence([3])]

    with pytest.raises(ValueError, match=r"zip|output|mask"):
        layout.scatter([np.zeros(shape)], units, Plan(rows=((0,), (1,)), width=3))


def row(height: int, value: int) -> Row:
    arrays = (np.full((1, height, 2), value), np.full((1, 1), value))
    return Row(arrays, tuple(array.shape[1:] for array in arrays))


@given(st.lists(st.integers(1, 2), min_size=1, max_size=20), st.integers(1, 8))
def test_rows_of_one_shape_run_together_and_come_back_in_order(
    heights: list[int], budget: int
) -> None:
    layout = RowLayout(("image", "scale"), ("doubled", "heights"))
    waiting = [row(height, value) for value, height in enumerate(heights)]
    chosen = layout.plan(waiting, budget)
    units, plan = [waiting[index] for index in chosen.chosen], chosen.renumbered()

    feeds = layout.pack(units, plan)
    image, scale = feeds["image"].astype(np.int64), feeds["scale"].astype(np.int64)
    answers = layout.scatter([image * 2, image.sum(axis=2) + scale], units, plan)

    alike = [value for value, height in enumerate(heights) if height == heights[0]]
    assert chosen.chosen == alike[:budget]
    for value, (doubled, sums) in zip(chosen.chosen, answers, strict=True):
        height = heights[value]
        np.testing.assert_array_equal(doubled, np.full((1, height, 2), value * 2))
        np.testing.assert_array_equal(sums, np.full((1, height), value * 3))
