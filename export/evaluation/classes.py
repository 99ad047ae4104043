"""Classifiers of texts: one class, any number of labels, or a value."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from export.errors import EvalFileInvalid
from export.evaluation.answer import Answer
from export.evaluation.evaluation import Evaluation, Subject
from export.evaluation.inputs import Inputs
from export.quality import labels as file_labels
from export.quality.compare import (
    Comparison,
    compare_classes,
    compare_label_sets,
    compare_values,
)
from export.quality.examples import EvalFile, Example, LabelledText, LabelSetText, ScoredText
from server.repository.manifest import Labels

Logits = NDArray[np.float32]
"""(examples, names)."""

_NEEDED: Mapping[str, tuple[type[Example], str]] = {
    "single": (LabelledText, "label"),
    "multi": (LabelSetText, "labels"),
    "regression": (ScoredText, "score"),
}
"""Kind of the model's labels -> shape of the examples, and the field that makes it."""


@dataclass(frozen=True)
class Classes(Evaluation[Logits]):
    """Logits of texts or pairs."""

    labels: Labels
    places: tuple[int, ...]
    """Of each example, its input."""
    gold: NDArray[np.generic]
    """Class of each example; labels of each, (examples, names); or value of each."""

    @classmethod
    def of(cls, file: EvalFile, subject: Subject) -> Self:
        """Ask for every distinct text or pair once.

        Raises:
            EvalFileInvalid: labels that are not the model's, or of another kind.
        """
        labels = subject.labels
        assert labels is not None
        gold = _gold(file, labels)
        inputs = Inputs(file, subject.tokenizer)
        places = tuple(
            inputs.place(row, text, pair) for row, (text, pair) in enumerate(_texts(file))
        )
        return cls(file, inputs.collected, inputs.notes, labels, places, gold)

    def read(self, answers: Iterable[Answer]) -> Logits:
        """Return the logits of each example."""
        logits = np.concatenate([answer["logits"] for answer in answers])
        return logits[list(self.places)]

    def compare(self, reference: Logits, bundle: Logits) -> tuple[Comparison, ...]:
        """Compare by accuracy and F1, or, for values, by Spearman and RMSE."""
        match self.labels.kind:
            case "single":
                return compare_classes(self.gold, reference, bundle)
            case "multi":
                thresholds = self.labels.thresholds
                sets = self.gold.astype(np.bool_)
                return compare_label_sets(sets, reference, bundle, thresholds)
            case "regression":
                return compare_values(self.gold.tolist(), reference[:, 0], bundle[:, 0])


def _gold(file: EvalFile, labels: Labels) -> NDArray[Any]:
    needed, field = _NEEDED[labels.kind]
    if file.shape is not needed:
        found = next(name for shape, name in _NEEDED.values() if shape is file.shape)
        raise EvalFileInvalid(
            f"{file.path}: the examples have field '{found}', but this model's labels are "
            f"{labels.kind}, which is measured with field '{field}'"
        )
    if file.shape is LabelledText:
        return file_labels.class_indices(file, labels.names)
    if file.shape is LabelSetText:
        return file_labels.label_sets(file, labels.names)
    if len(labels.names) != 1:
        raise EvalFileInvalid(
            f"{file.path}: field 'score' is one value, the model predicts {len(labels.names)}"
        )
    return np.array([example.score for example in file.all_of(ScoredText)])


def _texts(file: EvalFile) -> Iterable[tuple[str, str | None]]:
    for example in file.examples:
        assert isinstance(example, LabelledText | LabelSetText | ScoredText)
        yield example.text, example.text_pair
