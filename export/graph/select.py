"""From the states of tokens to what a head looks at: one vector per sequence, or single tokens.

Passes on a finished ONNX graph, in operators of the standard domain only; no torch. Everything goes
by segment, so packed and padded rows give one vector per sequence, by row and then by segment.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir

from export.graph.builder import Builder

INPUT_IDS = "input_ids"
SEGMENT_IDS = "segment_ids"

Pooling = Literal["mean", "cls", "last", "max"]


@dataclass(frozen=True, slots=True)
class Segments:
    """Where the sequences of a run lie."""

    membership: ir.Value
    """FP32 (rows, segments, length): 1 where the token belongs to the segment."""
    counts: ir.Value
    """FP32 (rows, segments): tokens of each; 0 for a number that a row does not use."""


def segments(model: ir.Model) -> Segments:
    """Add the arithmetic that finds the sequences of every row."""
    build = Builder(model.graph, "segments")
    segment_ids = graph_input(model, SEGMENT_IDS)
    one = build.integers("one", 1)
    largest = build.op("ReduceMax", [segment_ids], keepdims=0)
    numbers = build.op("Range", [one, build.op("Add", [largest, one]), one])
    column = build.op("Unsqueeze", [numbers, build.integers("column", [0, 2])])
    tokens = build.op("Unsqueeze", [segment_ids, build.integers("segment_axis", [1])])
    same = build.op("Equal", [column, tokens])
    membership = build.op("Cast", [same], to=ir.DataType.FLOAT)
    counts = build.op("ReduceSum", [membership, build.integers("token_axis", [2])], keepdims=0)
    return Segments(membership, counts)


def pool(model: ir.Model, states: ir.Value, mode: Pooling, width: int) -> ir.Value:
    """Return (sequences, width) from states (rows, length, width).

    Segments without a token drop out at the end.
    """
    found = segments(model)
    build = Builder(model.graph, "pool")
    match mode:
        case "mean":
            pooled = _means(build, states, found)
        case "max":
            pooled = _maxima(model, build, states, found, width)
        case "cls" | "last":
            pooled = _one_token(build, states, found, last=mode == "last")
    return _present(build, pooled, found, width)


def tokens_of(model: ir.Model, states: ir.Value, token_id: int) -> ir.Value:
    """Return (n, width): the states at every place that holds one token, in reading order."""
    build = Builder(model.graph, "tokens")
    ids = graph_input(model, INPUT_IDS)
    here = build.op("Equal", [ids, build.integers("id", token_id)])
    places = build.op("Transpose", [build.op("NonZero", [here])], perm=[1, 0])
    return build.op("GatherND", [states, places])


def graph_input(model: ir.Model, name: str) -> ir.Value:
    """Return an input of the graph by name."""
    return next(value for value in model.graph.inputs if value.name == name)


def _means(build: Builder, states: ir.Value, found: Segments) -> ir.Value:
    sums = build.op("MatMul", [found.membership, states])
    divisors = build.op("Max", [found.counts, build.real("at_least_one", 1.0)])
    column = build.op("Unsqueeze", [divisors, build.integers("hidden_axis", [2])])
    return build.op("Div", [sums, column])


def _one_token(build: Builder, states: ir.Value, found: Segments, *, last: bool) -> ir.Value:
    # ArgMax finds the first or the last of equal values: the ends of the segment.
    place = build.op("ArgMax", [found.membership], axis=2, keepdims=0, select_last_index=int(last))
    indices = build.op("Unsqueeze", [place, build.integers("index_axis", [2])])
    return build.op("GatherND", [states, indices], batch_dims=1)


def _maxima(
    model: ir.Model, build: Builder, states: ir.Value, found: Segments, width: int
) -> ir.Value:
    """Scatter every token into the place of its sequence and keep the larger value.

    Padding goes to a place of its own before the first sequence of each row, which is cut off.
    """
    segment_ids = graph_input(model, SEGMENT_IDS)
    one, batch = build.integers("one", 1), build.integers("row_axis", [0])
    shape = build.op("Shape", [found.counts])
    rows, numbers = (
        build.op("Gather", [shape, build.integers(f"axis_{axis}", axis)]) for axis in (0, 1)
    )
    places = build.op("Add", [numbers, one])
    starts = build.op("Mul", [build.op("Range", [build.integers("zero", 0), rows, one]), places])
    place = build.op("Add", [segment_ids, build.op("Unsqueeze", [starts, one_axis(build)])])
    flat_place = build.op("Reshape", [place, build.integers("flat_places", [-1, 1])])
    flat_states = build.op("Reshape", [states, build.integers("flat_states", [-1, width])])
    size = build.op(
        "Concat",
        [
            build.op("Unsqueeze", [build.op("Mul", [rows, places]), batch]),
            build.integers("width", [width]),
        ],
        axis=0,
    )
    lowest = build.constant("lowest", np.array(np.finfo(np.float32).min, np.float32))
    table = build.op("Expand", [lowest, size])
    largest = build.op("ScatterND", [table, flat_place, flat_states], reduction="max")
    by_row = build.op(
        "Reshape",
        [
            largest,
            build.op(
                "Concat",
                [
                    build.op("Unsqueeze", [rows, batch]),
                    build.op("Unsqueeze", [places, batch]),
                    build.integers("width_again", [width]),
                ],
                axis=0,
            ),
        ],
    )
    end = build.integers("end", [np.iinfo(np.int64).max])
    return build.op("Slice", [by_row, build.integers("first", [1]), end, one_axis(build)])


def one_axis(build: Builder) -> ir.Value:
    """Return the constant [1]."""
    return build.integers("axis_one", [1])


def _present(build: Builder, pooled: ir.Value, found: Segments, width: int) -> ir.Value:
    """Flatten (rows, segments, width) and drop segments without a token."""
    flat = build.op("Reshape", [pooled, build.integers("flat", [-1, width])])
    counts = build.op("Reshape", [found.counts, build.integers("flat_counts", [-1])])
    there = build.op("Greater", [counts, build.real("no_tokens", 0.0)])
    return build.op("Compress", [flat, there], axis=0)
