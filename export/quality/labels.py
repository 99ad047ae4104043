"""The labels of an evaluation file as the model knows them.

A file names its classes by the model's names or by index; one that the model does not have is the
file's fault, and the error says where it stands.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from export.quality.examples import EvalFile, Label, LabelledText, LabelSetText, TaggedWords

_SHOWN = 8
"""Names in an error message; a model may have thousands."""


def class_indices(file: EvalFile, names: Sequence[str]) -> NDArray[np.int64]:
    """Return the class of each `LabelledText`, shape (examples,).

    Raises:
        EvalFileInvalid: names the line of a label that is not the model's.
    """
    known = _known(names)
    return np.array(
        [
            _index(file, row, "label", example.label, known)
            for row, example in enumerate(file.all_of(LabelledText))
        ],
        np.int64,
    )


def label_sets(file: EvalFile, names: Sequence[str]) -> NDArray[np.bool_]:
    """Return which labels each `LabelSetText` has, shape (examples, names).

    Raises:
        EvalFileInvalid: names the line of a label that is not the model's.
    """
    known = _known(names)
    sets = np.zeros((len(file.examples), len(names)), np.bool_)
    for row, example in enumerate(file.all_of(LabelSetText)):
        for label in example.labels:
            sets[row, _index(file, row, "labels", label, known)] = True
    return sets


def tag_names(file: EvalFile, names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return the tags of each `TaggedWords` by name.

    Raises:
        EvalFileInvalid: names the line of a tag that is not the model's.
    """
    known = _known(names)
    return tuple(
        tuple(names[_index(file, row, "tags", tag, known)] for tag in example.tags)
        for row, example in enumerate(file.all_of(TaggedWords))
    )


def _known(names: Sequence[str]) -> dict[str, int]:
    return {name: index for index, name in enumerate(names)}


def _index(file: EvalFile, row: int, field: str, label: Label, known: Mapping[str, int]) -> int:
    if isinstance(label, int) and label < len(known):
        return label
    if isinstance(label, str) and label in known:
        return known[label]
    raise file.invalid(row, f"field '{field}': the model has no {label!r}, only {_list(known)}")


def _list(known: Mapping[str, int]) -> str:
    shown = ", ".join(list(known)[:_SHOWN])
    return f"{shown} and {len(known) - _SHOWN} more" if len(known) > _SHOWN else shown
