"""A finished bundle against PyTorch: the checkpoint is loaded again and asked the same batches."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from export import load
from export.errors import ParityBroken
from export.inspect.checks import Opened
from export.kinds.choose import kind_of, load_model
from export.kinds.kind import Kind
from export.kinds.text import TextOptions
from export.load import Loaded
from export.locate import locate
from export.proof import diverge, parity
from export.proof.case import Case
from export.proof.parity import TOLERANCES, Tolerance
from server.repository.bundle import digest_file
from server.repository.manifest import Manifest

_LAYERED = frozenset({"fp32", "fp16"})
"""Precisions that a layer keeps: rounding is spread over all of them."""


def reproduce(opened: Opened, model: str, tower: str | None = None) -> str:
    """Return how closely an open bundle answers like MODEL in PyTorch.

    Raises:
        ExportFailed: MODEL cannot be loaded.
        ParityBroken: the bundle answers differently, or has another tokenizer; names the layer.
    """
    manifest = opened.manifest
    checkpoint = locate(model)
    config = load.read_config(checkpoint.directory)
    loaded = load_model(checkpoint.directory, config, manifest.task, tower)
    kind = kind_of(loaded, _text_options(manifest))
    _require_same_files(opened, kind)
    cases = kind.cases()
    _require_same_names(opened, cases)
    tolerance = TOLERANCES[manifest.precision]
    try:
        measured = parity.compare(opened.session, cases, tolerance)
    except ParityBroken as error:
        if manifest.precision not in _LAYERED:
            raise
        where = _first_difference(opened, loaded, cases, tolerance)
        raise ParityBroken(f"{error}; {where}") from error
    worst = max(one.difference for one in measured)
    return (
        f"{len(measured)} batches differ from {checkpoint.source} by at most {worst:.1e} "
        f"({tolerance.measure}, limit {tolerance.limit:g})"
    )


def _text_options(manifest: Manifest) -> TextOptions:
    return TextOptions(
        dimensions=None if manifest.pooling is None else manifest.pooling.dimensions,
        max_tokens=None if manifest.limits is None else manifest.limits.max_tokens,
    )


def _require_same_files(opened: Opened, kind: Kind) -> None:
    with TemporaryDirectory() as scratch:
        kind.save_files(Path(scratch))
        for file in Path(scratch).iterdir():
            if opened.manifest.files.get(file.name) != digest_file(file):
                raise ParityBroken(f"{file.name} is not the checkpoint's")


def _require_same_names(opened: Opened, cases: Sequence[Case]) -> None:
    for case in cases:
        for meant, asked, present in (
            ("inputs", case.feeds, opened.session.input_names),
            ("outputs", case.expected, opened.session.output_names),
        ):
            if set(asked) != set(present):
                raise ParityBroken(
                    f"the checkpoint has {meant} {', '.join(asked)}, "
                    f"the bundle {', '.join(present)}"
                )


def _first_difference(
    opened: Opened, loaded: Loaded, cases: Sequence[Case], tolerance: Tolerance
) -> str:
    broken = next(case for case in cases if _is_broken(opened, case, tolerance))
    with TemporaryDirectory() as scratch:
        # A bundle may be served meanwhile: nothing is written beside it.
        for name in opened.manifest.files:
            shutil.copyfile(opened.bundle.path / name, Path(scratch) / name)
        graph = Path(scratch) / opened.bundle.model_path.name
        return diverge.first_difference(loaded, graph, broken, tolerance.limit)


def _is_broken(opened: Opened, case: Case, tolerance: Tolerance) -> bool:
    try:
        parity.compare(opened.session, [case], tolerance)
    except ParityBroken:
        return True
    return False
