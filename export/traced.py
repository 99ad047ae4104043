"""From a checkpoint to a traced graph on disk and PyTorch's answers; its memory ends here."""

from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedConfig

from export.evaluation.prepared import Prepared, prepare
from export.kinds.choose import kind_of, load_model
from export.kinds.kind import Interface, Kind
from export.kinds.text import TextOptions
from export.locate import Checkpoint
from export.memory import checkpoint_bytes
from export.progress import Progress
from export.proof import contract
from export.proof.case import Case
from export.publish import Stage
from export.quality.examples import EvalFile
from export.workspace import Workspace
from server.repository.manifest import Task


@dataclass(frozen=True, slots=True)
class Traced:
    """What is left of the model once its graph is on disk."""

    task: Task
    interface: Interface
    attention_classes: tuple[str, ...]
    unfused: tuple[str, ...]
    cases: tuple[Case, ...]
    """The proof's batches with PyTorch's answers."""
    samples: tuple[Case, ...]
    """What quality is measured on, with PyTorch's answers."""
    evaluation: Prepared | None
    """The questions of an evaluation file, with PyTorch's answers."""
    notes: tuple[str, ...]
    checkpoint_bytes: int


@dataclass(frozen=True, slots=True)
class TraceOptions:
    """What the command line may say about reading a checkpoint."""

    text: TextOptions
    tower: str | None
    allow_unfused: bool
    num_samples: int
    """Texts to measure quality with; 0 for none."""
    examples: EvalFile | None = None
    """Of an evaluation file."""


def trace(  # noqa: PLR0917 - what an export consists of
    checkpoint: Checkpoint,
    config: PreTrainedConfig,
    task: Task,
    options: TraceOptions,
    staged: Stage,
    workspace: Workspace,
    progress: Progress,
) -> Traced:
    """Load, ask PyTorch, trace, check the contract, and write the graph.

    Raises:
        ExportFailed: the checkpoint or its graph cannot be used; the message says why.
    """
    with progress.step("load weights"):
        loaded = load_model(checkpoint.directory, config, task, options.tower)
        kind = kind_of(loaded, options.text)
        kind.save_files(staged.directory)
    with progress.step("run PyTorch"):
        cases = kind.cases()
        samples = kind.samples(options.num_samples)
        prepared = _prepare(options.examples, task, kind, staged.directory)
    with progress.step("trace and fuse"):
        converted = kind.convert()
        unfused = contract.check(
            converted.model, converted.attention_classes, allow_unfused=options.allow_unfused
        )
    with progress.step("write graph"):
        workspace.save_traced(converted.model)
    return Traced(
        task=task,
        interface=kind.interface,
        attention_classes=converted.attention_classes,
        unfused=unfused,
        cases=cases,
        samples=samples,
        evaluation=prepared,
        notes=(*kind.notes, *(prepared.notes if prepared is not None else ())),
        checkpoint_bytes=checkpoint_bytes(checkpoint.directory),
    )


def _prepare(examples: EvalFile | None, task: Task, kind: Kind, bundle: Path) -> Prepared | None:
    return None if examples is None else prepare(examples, task, kind, bundle)
