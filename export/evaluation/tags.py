"""Classifiers of tokens, by the tags of words: the first token of a word speaks for it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from tokenizers import Encoding

from export.evaluation.answer import Answer
from export.evaluation.evaluation import Evaluation, Subject
from export.evaluation.inputs import Inputs
from export.evaluation.tokenizer import Tokenizer
from export.quality.answers import most_likely
from export.quality.compare import Comparison, compare_tags
from export.quality.entities import Tags
from export.quality.examples import EvalFile, TaggedWords
from export.quality.labels import tag_names


@dataclass(frozen=True)
class WordTags(Evaluation[Tags]):
    """Tags of words that were split before."""

    names: tuple[str, ...]
    gold: Tags
    places: tuple[tuple[int, ...], ...]
    """Of each example: for every word, its first token."""

    @classmethod
    def of(cls, file: EvalFile, subject: Subject) -> Self:
        """Ask for every sentence.

        Raises:
            EvalFileInvalid: tags that are not the model's, or words that it never sees.
        """
        assert subject.labels is not None
        gold = tag_names(file, subject.labels.names)
        inputs = Inputs(file, subject.tokenizer)
        places = []
        for row, example in enumerate(file.all_of(TaggedWords)):
            encoding = subject.tokenizer.words(example.tokens)
            places.append(_first_tokens(file, row, encoding, subject.tokenizer))
            inputs.add(row, encoding)
        return cls(file, inputs.collected, inputs.notes, subject.labels.names, gold, tuple(places))

    def read(self, answers: Iterable[Answer]) -> Tags:
        """Return the likeliest tag of each word."""
        return [
            [self.names[tag] for tag in most_likely(answer["logits"][0, list(places)])]
            for places, answer in zip(self.places, answers, strict=True)
        ]

    def compare(self, reference: Tags, bundle: Tags) -> tuple[Comparison, ...]:
        """Compare by entity F1 and tag accuracy."""
        return compare_tags(self.gold, reference, bundle)


def _first_tokens(
    file: EvalFile, row: int, encoding: Encoding, tokenizer: Tokenizer
) -> tuple[int, ...]:
    (example,) = file.all_of(TaggedWords)[row : row + 1]
    if len(encoding.ids) > tokenizer.max_tokens:
        raise file.invalid(
            row,
            f"field 'tokens': {len(encoding.ids)} tokens, the model takes at most "
            f"{tokenizer.max_tokens}; split the sentence",
        )
    firsts: dict[int, int] = {}
    for place, word in enumerate(encoding.word_ids):
        if word is not None:
            firsts.setdefault(word, place)
    for index, text in enumerate(example.tokens):
        if index not in firsts:
            raise file.invalid(
                row, f"field 'tokens[{index}]': the tokenizer makes nothing of {text!r}"
            )
    return tuple(firsts[index] for index in range(len(example.tokens)))
