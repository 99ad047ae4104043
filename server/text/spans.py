"""Labels of tokens to labelled spans of text, as transformers' pipeline of token classification.

Pure. Beyond BIO, tags may be written in BIOES or BILOU, or be plain.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]

OUTSIDE = "O"
_BEGIN = frozenset({"B", "S", "U"})
_END = frozenset({"E", "L", "S", "U"})
_INSIDE = frozenset({"I"})


class Aggregation(Enum):
    """How tokens become spans."""

    NONE = "none"
    SIMPLE = "simple"
    FIRST = "first"
    AVERAGE = "average"
    MAX = "max"


@dataclass(frozen=True, slots=True)
class TextSpan:
    """Characters [start, end) of a text, and what they are."""

    label: str
    score: float
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a text without special ones; every field has one entry per token."""

    scores: Scores
    """(tokens, labels)."""
    offsets: Sequence[tuple[int, int]]
    continues: Sequence[bool]
    """The token is of the same word as the one before it."""


@dataclass(frozen=True, slots=True)
class _Tagged:
    """A token or word and its likeliest label."""

    tag: str
    score: float
    start: int
    end: int


class Tagger:
    """Reads the labels of one model."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = labels
        # "E-commerce" is an end only where tags are written with prefixes at all.
        self._has_prefixes = any(label.startswith(("B-", "I-")) for label in labels)

    def spans(
        self, tokens: Tokens, aggregation: Aggregation, ignored: frozenset[str]
    ) -> list[TextSpan]:
        """Return spans in the order of the text, without those of ignored labels.

        `ignored` are labels as the model writes them or, for spans of several tokens, without
        prefix. Each token or word takes its likeliest label; neighbours with the same label,
        prefixes apart, become one, unless the later one begins a span or the earlier one ends it.
        """
        tagged = self._tagged(tokens, aggregation)
        if aggregation is Aggregation.NONE:
            found = [TextSpan(one.tag, one.score, one.start, one.end) for one in tagged]
        else:
            found = [self._span(group) for group in self._groups(tagged)]
        return [span for span in found if span.label not in ignored]

    def _tagged(self, tokens: Tokens, aggregation: Aggregation) -> list[_Tagged]:
        scores, offsets = tokens.scores, tokens.offsets
        if not len(scores):
            return []
        if aggregation in {Aggregation.FIRST, Aggregation.AVERAGE, Aggregation.MAX}:
            firsts = [
                place for place, more in enumerate(tokens.continues) if not more or place == 0
            ]
            words = list(pairwise([*firsts, len(scores)]))
            scores = np.stack([_word(scores[first:end], aggregation) for first, end in words])
            offsets = [(offsets[first][0], offsets[end - 1][1]) for first, end in words]
        return [
            _Tagged(self._labels[label], float(row[label]), start, end)
            for row, label, (start, end) in zip(scores, scores.argmax(axis=1), offsets, strict=True)
        ]

    def _groups(self, tagged: Sequence[_Tagged]) -> Iterator[list[_Tagged]]:
        group: list[_Tagged] = []
        ended = False
        for one in tagged:
            prefix, kind = self._split(one.tag)
            if group and (ended or prefix in _BEGIN or kind != self._split(group[-1].tag)[1]):
                yield group
                group = []
            group.append(one)
            ended = prefix in _END
        if group:
            yield group

    def _span(self, group: Sequence[_Tagged]) -> TextSpan:
        score = sum(one.score for one in group) / len(group)
        return TextSpan(self._split(group[0].tag)[1], score, group[0].start, group[-1].end)

    def _split(self, tag: str) -> tuple[str, str]:
        """Return what the prefix of a tag says, and the tag without it."""
        prefix, dash, kind = tag.partition("-")
        if self._has_prefixes and dash and prefix in _BEGIN | _END | _INSIDE:
            return prefix, kind
        return "I", tag


def continues(
    text: str, pieces: Sequence[str], offsets: Sequence[tuple[int, int]], unknown: str | None,
    *, marks_continuation: bool,
) -> list[bool]:  # fmt: skip
    """Tell for each token whether it is of the same word as the one before it.

    Args:
        text: that the offsets refer to.
        pieces: tokens as the vocabulary writes them.
        offsets: characters of each.
        unknown: the piece that stands for whole unknown words.
        marks_continuation: pieces that continue a word are written longer than their characters,
            as in WordPiece; otherwise words end at white space.
    """

    def one(piece: str, start: int, end: int) -> bool:
        if piece == unknown:
            return False
        if marks_continuation:
            return len(piece) != end - start
        return start > 0 and not any(map(str.isspace, text[start - 1 : start + 1]))

    return [one(piece, start, end) for piece, (start, end) in zip(pieces, offsets, strict=True)]


def _word(scores: Scores, aggregation: Aggregation) -> Scores:
    """Return the scores of a word from those of its tokens."""
    match aggregation:
        case Aggregation.AVERAGE:
            return np.asarray(scores.mean(axis=0))
        case Aggregation.MAX:
            return np.asarray(scores[scores.max(axis=1).argmax()])
        case _:
            return np.asarray(scores[0])
