"""The two halves of an evaluation: PyTorch's answers while it is in memory, a session's later.

In between there are only values: a `Prepared` can be pickled, and compared with many sessions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.errors import EvalFileInvalid
from export.evaluation.answer import Answer, ask, require_finite
from export.evaluation.evaluation import Evaluation, Subject
from export.evaluation.tokenizer import Tokenizer
from export.kinds.kind import Kind
from export.kinds.text import TextKind
from export.proof.case import Feeds
from export.quality.examples import EvalFile
from server.repository.manifest import Quality, Task
from server.runtime.session import Session


@dataclass(frozen=True, slots=True)
class Prepared:
    """An evaluation that PyTorch has answered."""

    evaluation: Evaluation[Any]
    feeds: tuple[Feeds, ...]
    """One run for each input of the evaluation."""
    reference: object
    """What the evaluation read from PyTorch's answers."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader of the figures should know."""
        return self.evaluation.notes


def prepare(file: EvalFile, task: Task, kind: Kind, bundle: Path) -> Prepared:
    """Put an evaluation file to PyTorch, with the tokenizer in the directory of the bundle.

    Every input is a run of its own: minutes for thousands.

    Raises:
        EvalFileInvalid: the task has no evaluation, or the file does not go with the model.
        ParityBroken: PyTorch answers with something else than numbers.
    """
    # Brings SciPy and scikit-learn: two seconds that an export without an evaluation need not take.
    from export.evaluation.tasks import EVALUATIONS  # noqa: PLC0415

    if task not in EVALUATIONS or not isinstance(kind, TextKind):
        known = ", ".join(EVALUATIONS)
        raise EvalFileInvalid(f"{file.path}: task {task} has no evaluation; {known} have one")
    evaluation = EVALUATIONS[task](file, _subject(kind, bundle))
    feeds: list[Feeds] = []
    reference = evaluation.read(_answers_of_pytorch(evaluation, kind, feeds))
    return Prepared(evaluation, tuple(feeds), reference)


def compare(prepared: Prepared, session: Session) -> tuple[Quality, ...]:
    """Return the measures of the task, of PyTorch and of a session.

    Raises:
        ParityBroken: the session answers with something else than numbers.
        RunFailed: ONNX Runtime reports an error.
    """
    evaluation = prepared.evaluation
    bundle = evaluation.read(_answers_of_bundle(prepared, session))
    return tuple(
        Quality(
            measure=found.measure,
            reference=found.reference,
            bundle=found.bundle,
            low=found.low,
            high=found.high,
            count=found.n,
        )
        for found in evaluation.compare(prepared.reference, bundle)
    )


def _subject(kind: TextKind, bundle: Path) -> Subject:
    interface = kind.interface
    assert interface.limits is not None
    assert interface.text is not None
    tokenizer = Tokenizer(
        bundle / interface.text.tokenizer,
        interface.limits.max_tokens,
        has_types=any(spec.name == "token_type_ids" for spec in interface.inputs),
    )
    return Subject(tokenizer, interface.labels, interface.text.mask_id)


def _answers_of_pytorch(
    evaluation: Evaluation[Any], kind: TextKind, feeds: list[Feeds]
) -> Iterator[Answer]:
    """Yield the answers in order and collect what a session has to be fed for the same."""
    for asked in evaluation.inputs:
        # One at a time: the answers of all together may not fit beside the model.
        (case,) = kind.ask([asked.tokens])
        require_finite("PyTorch", f"line {asked.line} of {evaluation.file.path}", case.expected)
        feeds.append(case.feeds)
        yield case.expected


def _answers_of_bundle(prepared: Prepared, session: Session) -> Iterator[Answer]:
    evaluation = prepared.evaluation
    for asked, feeds in zip(evaluation.inputs, prepared.feeds, strict=True):
        answer = ask(session, feeds)
        require_finite("the bundle", f"line {asked.line} of {evaluation.file.path}", answer)
        yield answer
