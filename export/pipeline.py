"""The steps of an export, in order: find, trace, build, prove, publish.

Owns nothing but the order and when the checkpoint's memory is given back: PyTorch answers first,
the traced graph goes to disk, and everything after works on files. Everything that fails, fails
before a bundle exists.
"""

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec
from transformers import PreTrainedConfig

from export import card, describe, load, publish
from export import task as tasks
from export.build import BuildOptions, Built, build
from export.errors import ExportFailed, ParityBroken
from export.kinds.choose import load_model
from export.kinds.text import TextOptions
from export.locate import Checkpoint, locate
from export.memory import peak_bytes
from export.progress import Progress
from export.proof import diverge
from export.proof.case import Case
from export.proof.parity import TOLERANCES, CaseBroken
from export.publish import ExternalData, Stage
from export.quality.examples import EvalFile, read
from export.report import Report
from export.traced import Traced, TraceOptions, trace
from export.work import resume
from export.work.fingerprint import fingerprint
from export.workspace import TRACED, Workspace
from server.repository import manifest as manifests
from server.repository.bundle import Bundle
from server.repository.manifest import Card, Manifest, Precision, Task
from server.runtime.cpu import isa
from server.runtime.session import runtime_version

_SAMPLES, _FEW_SAMPLES = 400, 32
"""Built-in texts that quality is measured on: all where weights are rounded, some where they are
not and parity has said nearly everything."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for."""

    model: str
    task: str | None = None
    """As written; None reads it from the checkpoint."""
    name: str | None = None
    version: int = 1
    out: Path = Path("models")
    force: bool = False
    external_data: ExternalData = "auto"
    precision: Precision = "fp32"
    budget: float | None = None
    explain: bool = False
    allow_unfused: bool = False
    measure: bool = True
    tower: str | None = None
    dimensions: int | None = None
    max_tokens: int | None = None
    eval_file: Path | None = None
    work: Path | None = None
    """Where the trace is kept for the next export; None for nowhere."""


class Subject(NamedTuple):
    """What is exported, as far as the trace depends on it."""

    checkpoint: Checkpoint
    config: PreTrainedConfig
    task: Task
    options: TraceOptions


def run(request: Request, progress: Progress) -> tuple[Bundle, Report]:
    """Export one checkpoint and return the published bundle with its report.

    Raises:
        ExportFailed: the checkpoint, the contract, parity or quality; nothing was published.
        ServeError: the runtime refuses the file; nothing was published.
    """
    before_bytes = peak_bytes()
    # A download draws its own progress bars.
    with progress.step("find checkpoint", spinner=False):
        checkpoint = locate(request.model)
        name = _bundle_name(request.name or checkpoint.name)
        publish.require_free(request.out, name, request.version, force=request.force)
        config = load.read_config(checkpoint.directory)
        task = (
            tasks.detect(checkpoint.directory, config)
            if request.task is None
            else tasks.parse(request.task)
        )
        # Read before anything slow: a mistake in it should not cost a trace.
        examples = None if request.eval_file is None else read(request.eval_file, task)
    subject = Subject(checkpoint, config, task, _trace_options(request, examples))
    with (
        publish.stage(request.out, name, request.version, force=request.force) as staged,
        resume.held(request.work or staged.scratch) as workspace,
    ):
        traced = _trace(subject, request, staged, workspace, progress)
        # The traced program refers to itself and would keep the weights beside the session's.
        gc.collect()
        try:
            built = build(traced, _build_options(request), staged, workspace, progress)
        except CaseBroken as error:
            where = _first_difference(subject, error.case, workspace, progress)
            raise ParityBroken(f"{error}; {where}") from error
        made = card.build_card(checkpoint.source, traced, built, peak_bytes() - before_bytes)
        manifest = _manifest(request, name, traced, built, made)
        report = Report(manifest, progress.durations_s)
        report.write(staged.directory)
        with progress.step("publish"):
            bundle = publish.publish(staged, manifest)
    return bundle, report


def _trace(
    subject: Subject, request: Request, staged: Stage, workspace: Workspace, progress: Progress
) -> Traced:
    """Trace, or take what an earlier export of the same checkpoint and options has kept."""
    checkpoint, config, task, options = subject
    if request.work is None:
        return trace(checkpoint, config, task, options, staged, workspace, progress)
    with progress.step("look for an earlier trace"):
        mark = fingerprint(checkpoint, task, options)
        traced = resume.load(workspace, mark, staged.directory)
    if traced is None:
        traced = trace(checkpoint, config, task, options, staged, workspace, progress)
        resume.save(workspace, mark, traced, staged.directory)
    return traced


def _first_difference(
    subject: Subject, case: Case, workspace: Workspace, progress: Progress
) -> str:
    with progress.step("look for the layer"):
        loaded = load_model(
            subject.checkpoint.directory, subject.config, subject.task, subject.options.tower
        )
        # The graph as traced, whatever it was rounded to: a layer is wrong or it is not.
        return diverge.first_difference(
            loaded, workspace.path(TRACED), case, TOLERANCES["fp32"].limit
        )


def _trace_options(request: Request, examples: EvalFile | None) -> TraceOptions:
    # What is kept should serve every precision.
    rounded = request.precision != "fp32" or request.work is not None
    return TraceOptions(
        text=TextOptions(request.dimensions, request.max_tokens),
        tower=request.tower,
        allow_unfused=request.allow_unfused,
        num_samples=_SAMPLES if rounded else _FEW_SAMPLES,
        examples=examples,
    )


def _build_options(request: Request) -> BuildOptions:
    return BuildOptions(
        precision=request.precision,
        budget=request.budget,
        explain=request.explain,
        measure=request.measure,
        external_data=request.external_data,
    )


def _manifest(request: Request, name: str, traced: Traced, built: Built, made: Card) -> Manifest:
    return describe.build_manifest(
        traced.interface,
        name=name,
        version=request.version,
        task=traced.task,
        precision=request.precision,
        isa=isa(),
        opset=built.opset,
        min_onnxruntime=runtime_version(),
        cpu=built.session,
        explain=built.explain,
        card=made,
    )


def _bundle_name(name: str) -> str:
    try:
        return msgspec.convert(name, manifests.Name)
    except msgspec.ValidationError as error:
        raise ExportFailed(
            f"'{name}' cannot be the name of a bundle; pass --name of letters, digits, . _ -"
        ) from error
