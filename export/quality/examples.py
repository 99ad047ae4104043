"""Read the examples of an evaluation file: JSON Lines, every line of one shape of the task.

Strict: an unknown field, a wrong type or lists of different lengths stop the reading with file,
line and field. Knows nothing of models; `labels` holds the labels of a file against those of one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar, cast

import msgspec

from export.errors import EvalFileInvalid

MAX_BYTES = 256 * 2**20
MIN_EXAMPLES = 10
"""A bootstrap of fewer knows too little of the population for its interval to be believed."""
MASK = "[MASK]"
"""Stands for the model's own mask token, whatever that is called."""

Text = Annotated[str, msgspec.Meta(min_length=1)]
Label = Text | Annotated[int, msgspec.Meta(ge=0)]
"""A name of the model's classes, or the index of one."""
Relevance = Annotated[float, msgspec.Meta(ge=0)]


class Example(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every shape."""


class ScoredPair(Example, frozen=True):
    """Two texts and how similar people found them, on any scale."""

    text_a: Text
    text_b: Text
    score: float


class Ranking(Example, frozen=True):
    """A query, its candidates, and how relevant each is: 0 is not, more is better."""

    query: Text
    documents: tuple[Text, ...]
    relevance: tuple[Relevance, ...]

    def __post_init__(self) -> None:
        """Refuse a query that no order of the documents could get wrong."""
        if len(self.documents) != len(self.relevance):
            raise ValueError(
                f"fields 'documents' and 'relevance' have {len(self.documents)} and "
                f"{len(self.relevance)} entries"
            )
        if min(self.relevance, default=0) == max(self.relevance, default=0):
            raise ValueError("field 'relevance' must hold at least two different values")


class LabelledText(Example, frozen=True):
    """A text, or a pair of texts, of one class."""

    text: Text
    label: Label
    text_pair: Text | None = None


class LabelSetText(Example, frozen=True):
    """A text, or a pair of texts, with any number of labels."""

    text: Text
    labels: tuple[Label, ...]
    text_pair: Text | None = None

    def __post_init__(self) -> None:
        """Refuse a label that is given twice."""
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("field 'labels' repeats a label")


class ScoredText(Example, frozen=True):
    """A text, or a pair of texts, with a value to be predicted."""

    text: Text
    score: float
    text_pair: Text | None = None


class TaggedWords(Example, frozen=True):
    """The words of a sentence with a tag each."""

    tokens: tuple[Text, ...]
    tags: tuple[Label, ...]

    def __post_init__(self) -> None:
        """Refuse words without tags."""
        if len(self.tokens) != len(self.tags):
            raise ValueError(
                f"fields 'tokens' and 'tags' have {len(self.tokens)} and {len(self.tags)} entries"
            )
        if not self.tokens:
            raise ValueError("field 'tokens' is empty")


class Question(Example, frozen=True):
    """A question about a context and every accepted answer; none if the context has none."""

    question: Text
    context: Text
    answers: tuple[str, ...]


class MaskedText(Example, frozen=True):
    """A text with one `[MASK]` and the word that belongs there."""

    text: Text
    answer: Text

    def __post_init__(self) -> None:
        """Refuse a text with no place or several to fill."""
        if (masks := self.text.count(MASK)) != 1:
            raise ValueError(f"field 'text' must hold {MASK} once, not {masks} times")


SHAPES: Mapping[str, tuple[type[Example], ...]] = {
    "embed": (ScoredPair, Ranking),
    "sparse-embed": (ScoredPair, Ranking),
    "rerank": (Ranking, ScoredPair),
    "classify": (LabelledText, LabelSetText, ScoredText),
    "token-classify": (TaggedWords,),
    "question-answer": (Question,),
    "fill-mask": (MaskedText,),
}
"""Task -> shapes of its examples."""

ExampleT = TypeVar("ExampleT", bound=Example)


@dataclass(frozen=True, slots=True)
class EvalFile:
    """The examples of one file, all of one shape."""

    path: Path
    examples: tuple[Example, ...]
    lines: tuple[int, ...]
    """Where each example stands, from 1; blank lines are passed over."""

    @property
    def shape(self) -> type[Example]:
        """The shape of every example."""
        return type(self.examples[0])

    def all_of(self, shape: type[ExampleT]) -> tuple[ExampleT, ...]:
        """Return the examples under the type that `shape` says they have."""
        assert self.shape is shape
        return cast("tuple[ExampleT, ...]", self.examples)

    def invalid(self, index: int, reason: str) -> EvalFileInvalid:
        """Return the error that blames one example."""
        return EvalFileInvalid(f"{self.path}, line {self.lines[index]}: {reason}")


def read(path: Path, task: str) -> EvalFile:
    """Read the examples for `task`; the fields of the first line decide the shape.

    Raises:
        EvalFileInvalid: names file, line and field.
    """
    if task not in SHAPES:
        raise EvalFileInvalid(f"{path}: no measure for task {task}; there is for {_join(SHAPES)}")
    lines = _lines(path)
    if len(lines) < MIN_EXAMPLES:
        raise EvalFileInvalid(f"{path}: {len(lines)} examples, at least {MIN_EXAMPLES} are needed")
    first, text = next(iter(lines.items()))
    decoder = msgspec.json.Decoder(_shape(f"{path}, line {first}", text, task))
    examples = []
    for line, text in lines.items():
        try:
            examples.append(decoder.decode(text))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise EvalFileInvalid(f"{path}, line {line}: {_reason(error)}") from error
    _require_variety(path, examples)
    return EvalFile(path, tuple(examples), tuple(lines))


def _lines(path: Path) -> dict[int, bytes]:
    """Return the lines that hold something, by number."""
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise EvalFileInvalid(f"{path}: {size} bytes, at most {MAX_BYTES} are read")
        data = path.read_bytes()
    except OSError as error:
        raise EvalFileInvalid(f"{path}: cannot be read ({error.strerror})") from error
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return {number: line for number, line in enumerate(lines, start=1) if line.strip()}


def _shape(place: str, text: bytes, task: str) -> type[Example]:
    """Return the shape whose required fields the line has."""
    try:
        found = msgspec.json.decode(text, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EvalFileInvalid(f"{place}: {_reason(error)}") from error
    for shape in SHAPES[task]:
        if set(_required(shape)) <= set(found):
            return shape
    shapes = " or ".join("{" + _join(_required(shape)) + "}" for shape in SHAPES[task])
    raise EvalFileInvalid(f"{place}: fields {_join(found)} are not those of {task}: {shapes}")


def _required(shape: type[Example]) -> tuple[str, ...]:
    return tuple(field.name for field in msgspec.structs.fields(shape) if field.required)


def _reason(error: Exception) -> str:
    """Return msgspec's message with the field in front, when the message has a path to it."""
    message = str(error)
    found = re.fullmatch(r"(.*) - at `\$\.?(.*)`", message)
    if found is None:
        return message
    reason, field = found.groups()
    return f"field '{field}': {reason}" if field else reason


def _require_variety(path: Path, examples: list[Example]) -> None:
    """Refuse a file on which the measure has no value, whatever a model answers."""
    match examples[0]:
        case ScoredPair() | ScoredText():
            if len({msgspec.structs.asdict(example)["score"] for example in examples}) == 1:
                raise EvalFileInvalid(f"{path}: field 'score' is the same on every line")
        case LabelSetText():
            if not any(cast("LabelSetText", example).labels for example in examples):
                raise EvalFileInvalid(f"{path}: field 'labels' is empty on every line")


def _join(names: Mapping[str, object] | tuple[str, ...]) -> str:
    return ", ".join(names)
