"""`heed-export compare`: two bundles side by side in size, answers and CPU time.

Answers are those to the same texts, each tokenised by its own bundle; times are taken in turns in
one process, so that their ratio means something. Needs no PyTorch.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from export.inspect.alike import Unlike, alike
from export.inspect.side import Facts, Pair, Side, built_in, has_types, read_texts
from export.proof import alone, batches, speed
from export.proof.case import Array
from export.proof.speed import SHAPES, Candidate, Shape
from server.repository.manifest import Quality

_LEFT, _RIGHT = "left", "right"
_TENSOR_SHAPES = (Shape(1, 0), Shape(4, 0))
"""One input and a small batch; the length is the model's own."""


class Time(msgspec.Struct, frozen=True):
    """CPU time of one run."""

    shape: str
    """Rows x length, or rows of raw tensors."""
    left_ms: float
    right_ms: float
    speedup: float
    """How many times as fast as the left the right is: the median over turns, in which both met the
    same machine."""


class Comparison(msgspec.Struct, frozen=True):
    """Everything that is printed."""

    left: Facts
    right: Facts
    answers: tuple[Quality, ...]
    """The right's answers held against the left's."""
    times: tuple[Time, ...]
    notes: tuple[str, ...]


def parser() -> argparse.ArgumentParser:
    """Return the arguments of `heed-export compare`."""
    result = argparse.ArgumentParser(
        prog="heed-export compare",
        description="Compare two bundles: size, precision, fusion, answers to the same texts, and "
        "CPU time of a run on one thread.",
    )
    for name in (_LEFT, _RIGHT):
        result.add_argument(
            name, type=Path, metavar="BUNDLE", help="version directory, <models>/<name>/<version>"
        )
    result.add_argument(
        "--texts",
        type=Path,
        metavar="FILE",
        help="one text a line, two with a tab between for tasks of pairs (default: built in)",
    )
    result.add_argument(
        "--no-measure", dest="measure", action="store_false", help="leave out the times"
    )
    result.add_argument("--json", action="store_true", help="as JSON")
    return result


def run(options: argparse.Namespace) -> int:
    """Print the comparison on standard output.

    Raises:
        ServeError: a bundle cannot be opened or run.
        ExportFailed: FILE cannot be used, or a bundle answers with something else than numbers.
    """
    left, right = Side.open(options.left), Side.open(options.right)
    asked = read_texts(options.texts, left.manifest) if options.texts else built_in(left.manifest)
    with Console(stderr=True).status("compare"):
        found = compare(left, right, asked, seconds=20.0 if options.measure else None)
    if options.json:
        data = msgspec.json.format(msgspec.json.encode(found), indent=2)
        sys.stdout.write(data.decode() + "\n")
    else:
        Console().print(_table(found))
    return 0


def compare(left: Side, right: Side, asked: Sequence[Pair], *, seconds: float | None) -> Comparison:
    """Compare two open bundles; without `seconds` no time is measured."""
    notes = []
    answers: tuple[Quality, ...] = ()
    try:
        answers = alike(left, right, asked)
    except Unlike as error:
        notes.append(f"answers cannot be compared: {error}")
    times: tuple[Time, ...] = ()
    if seconds is not None:
        try:
            times = tuple(_times(left, right, seconds))
        except Unlike as error:
            notes.append(f"times cannot be compared: {error}")
    return Comparison(left.facts(), right.facts(), answers, times, tuple(notes))


def _times(left: Side, right: Side, seconds: float) -> Iterator[Time]:
    shapes = _shapes(left, right)
    candidates = [
        Candidate(name, side.bundle.model_path, side.disabled_optimizers)
        for name, side in ((_LEFT, left), (_RIGHT, right))
    ]
    measured = speed.compare(
        candidates, lambda shape: _feeds(left, right, shape), shapes, budget_s=seconds
    )
    for shape in shapes:
        yield Time(
            str(shape) if shape.length else f"{shape.rows} rows",
            1e3 * measured.median(_LEFT, shape),
            1e3 * measured.median(_RIGHT, shape),
            measured.speedup(_RIGHT, _LEFT, shape),
        )


def _shapes(left: Side, right: Side) -> tuple[Shape, ...]:
    manifests = left.manifest, right.manifest
    limits = [manifest.limits for manifest in manifests if manifest.text is not None]
    if not limits:
        if left.manifest.inputs != right.manifest.inputs:
            raise Unlike("the inputs differ")
        return _TENSOR_SHAPES
    if len(limits) == 1:
        raise Unlike("one takes text and the other does not")
    most = min(limit.max_tokens for limit in limits if limit is not None)
    return tuple(dict.fromkeys(Shape(one.rows, min(one.length, most)) for one in SHAPES))


def _feeds(left: Side, right: Side, shape: Shape) -> Mapping[str, Array]:
    """Return one run that both can do; each is given the inputs that it has."""
    if left.manifest.text is None:
        return alone.rows_of(left.manifest, shape.rows)
    texts = [alone.text_of(side.manifest) for side in (left, right)]
    masks = {text.mask_id for text in texts}
    both = batches.Text(
        min(text.vocabulary for text in texts),
        texts[0].pad_id,
        min(text.position_offset for text in texts),
        shape.length,
        has_types=any(has_types(side.manifest) for side in (left, right)),
        mask_id=masks.pop() if len(masks) == 1 else None,
    )
    return batches.whole_rows(both, shape.rows, shape.length).feeds


def _table(found: Comparison) -> Table:
    table = Table(title="two bundles")
    for column in ("What", found.left.bundle, found.right.bundle):
        table.add_column(Text(column), overflow="fold")
    for title, shown in _FACTS.items():
        table.add_row(Text(title), *(Text(shown(side)) for side in (found.left, found.right)))
    for one in found.times:
        mine, its = f"{one.left_ms:.2f} ms", f"{one.right_ms:.2f} ms: {one.speedup:.2f}x"
        table.add_row(Text(f"CPU time of {one.shape}"), Text(mine), Text(its))
    for quality in found.answers:
        value = f"{quality.bundle:.4f} of {quality.count}"
        table.add_row(Text(quality.measure), Text("1"), Text(value))
    for note in found.notes:
        table.add_row(Text("note"), Text(""), Text(note))
    return table


_FACTS: Mapping[str, Callable[[Facts], str]] = {
    "source": lambda side: side.source,
    "task": lambda side: side.task,
    "family": lambda side: side.family,
    "precision": lambda side: side.precision,
    "size": lambda side: f"{side.size_bytes / 2**20:.1f} MiB",
    "fused attention": lambda side: side.fused,
    "form": lambda side: side.form,
    "kept in float": lambda side: f"{side.kept_float} layers",
    "parity": lambda side: f"{side.parity:.1%} of the limit",
    "tokens of a run": lambda side: str(side.max_batch_tokens),
    "measured on": lambda side: side.isa,
    "ONNX Runtime": lambda side: side.onnxruntime,
    "exported at": lambda side: side.exported_at,
}
"""What is shown of a side, and how."""
