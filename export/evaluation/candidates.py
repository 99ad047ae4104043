"""Masked language models, by the word that belongs where the mask is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from export.errors import CheckpointUnsupported
from export.evaluation.answer import Answer
from export.evaluation.evaluation import Evaluation, Subject
from export.evaluation.inputs import Inputs
from export.evaluation.tokenizer import Tokenizer
from export.quality.compare import Comparison, compare_candidates
from export.quality.examples import MASK, EvalFile, MaskedText

Candidates = Sequence[Sequence[str]]
"""Of each example, the likeliest first."""

_SHOWN = 5


@dataclass(frozen=True)
class MaskCandidates(Evaluation[Candidates]):
    """The likeliest tokens in the place of each mask."""

    tokenizer: Tokenizer
    gold: tuple[str, ...]
    """The words, as the tokenizer's text has them: a model of lower case knows no other."""
    places: tuple[int, ...]
    """Of each example, its input."""

    @classmethod
    def of(cls, file: EvalFile, subject: Subject) -> Self:
        """Ask for every text.

        Raises:
            CheckpointUnsupported: the tokenizer has no mask token.
            EvalFileInvalid: a text whose mask is beyond the limit or not alone.
        """
        if subject.mask_id is None:
            raise CheckpointUnsupported("the tokenizer has no mask token to fill")
        tokenizer = subject.tokenizer
        mask = tokenizer.token(subject.mask_id)
        inputs = Inputs(file, tokenizer)
        places = []
        for row, example in enumerate(file.all_of(MaskedText)):
            place = inputs.place(row, example.text.replace(MASK, mask))
            ids = inputs.tokens(place).ids
            if (masks := np.count_nonzero(ids == subject.mask_id)) != 1:
                raise file.invalid(
                    row,
                    f"field 'text' has {masks} masks within the {tokenizer.max_tokens} tokens that "
                    "the model takes, 1 is needed",
                )
            places.append(place)
        answers = [example.answer for example in file.all_of(MaskedText)]
        words = [tokenizer.plain_ids(answer) for answer in answers]
        gold = tuple(
            # A token without text stands for any word that the tokenizer does not know.
            (tokenizer.decode(ids) if len(ids) == 1 else "") or answer
            for ids, answer in zip(words, answers, strict=True)
        )
        notes = (*inputs.notes, *_notes(file, words))
        return cls(file, inputs.collected, notes, tokenizer, gold, tuple(places))

    def read(self, answers: Iterable[Answer]) -> Candidates:
        """Return the five best candidates of each example."""
        best = [self._best(answer) for answer in answers]
        return [best[place] for place in self.places]

    def compare(self, reference: Candidates, bundle: Candidates) -> tuple[Comparison, ...]:
        """Compare by the best one and the best five."""
        return compare_candidates(self.gold, reference, bundle)

    def _best(self, answer: Answer) -> list[str]:
        (logits,) = answer["logits"]
        # Stable, so that of equal logits the lower id comes first in either system.
        best = np.argsort(-logits, kind="stable")[:_SHOWN]
        return [self.tokenizer.decode([int(token)]) for token in best]


def _notes(file: EvalFile, words: Sequence[Sequence[int]]) -> tuple[str, ...]:
    pieces = sum(len(ids) != 1 for ids in words)
    if not pieces:
        return ()
    note = (
        f"{pieces} of the {len(words)} words of {file.path.name} are not one token each, so no "
        "mask can be filled with them"
    )
    return (note,)
