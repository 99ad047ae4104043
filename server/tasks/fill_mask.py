"""Texts with masks to the tokens that fit them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import numpy as np

from server.batching.layout import Answer
from server.batching.statistics import counted
from server.errors import BundleCorrupt, InvalidRequest
from server.repository.manifest import Manifest
from server.tasks.text_runner import TextRunner, read, require_count, require_items
from server.text.detokenizer import Detokenizer
from server.text.scores import Places, Values, best, softmax
from server.text.tokenized import TokenizedText
from server.text.tokenizer import Truncation

DEFAULT_TOP_K = 5
MAX_TOP_K = 1_000
"""Candidates that a mask may be asked for: a vocabulary has up to millions."""
MAX_CANDIDATES = 20_000
"""Candidates of one answer."""
LOGIT_US = 0.02
CANDIDATE_US = 2
"""To read one."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A token that may stand for a mask."""

    id: int
    piece: str
    text: str
    score: float


@dataclass(frozen=True, slots=True)
class FilledMask:
    """What fits one mask, by falling score, and its characters in the text."""

    candidates: list[Candidate]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Filled:
    """The masks of one text, in its order."""

    masks: list[FilledMask]
    text: TokenizedText


class FillMask:
    """The fill-mask task of one loaded model."""

    def __init__(self, manifest: Manifest, runner: TextRunner) -> None:
        if manifest.text is None or manifest.text.mask_id is None:
            raise BundleCorrupt("text.mask_id is missing, which task fill-mask needs")
        self._mask_id = manifest.text.mask_id
        self._runner = runner
        self._detokenizer = Detokenizer(runner.tokenizer)
        self._mask = self._detokenizer.piece(self._mask_id)

    async def run(
        self,
        texts: Sequence[str],
        truncation: Truncation,
        top_k: int | None = None,
        targets: Sequence[str] = (),
    ) -> list[Filled]:
        """Return the candidates for each mask of each text, in order.

        Args:
            texts: each with a mask at least.
            truncation: of too long ones.
            top_k: most candidates; None for 5.
            targets: the only candidates, if any; each a token of the vocabulary.

        Raises:
            InvalidRequest: no texts, too many, one without a mask, a target that is no single
                token, top_k out of range, or more candidates than an answer may have.
            TooLong: a text beyond the limit while truncation is refused.
            QueueFull, PredictedLate, DeadlineExpired, RunFailed: as `Batcher.submit`.
        """
        with counted(self._runner.statistics):
            require_items("texts", texts, self._runner.max_texts)
            require_count("top_k", top_k, MAX_TOP_K)
            chosen = self._targets(targets)
            tokenized = await self._runner.encode(texts, truncation, offsets=True)
            masks = [self._masks(index, text) for index, text in enumerate(tokenized)]
            num_candidates = _require_room(sum(map(len, masks)), top_k, targets)
            answers = await self._runner.run(tokenized)
            found_by_text = await read(
                partial(self._read, answers, chosen, top_k),
                sum(answer[0].size for answer in answers) * LOGIT_US
                + num_candidates * CANDIDATE_US,
            )
            return [
                _filled(found, places, text)
                for found, places, text in zip(found_by_text, masks, tokenized, strict=True)
            ]

    def _targets(self, targets: Sequence[str]) -> Places | None:
        if not targets:
            return None
        require_items("targets", targets, MAX_TOP_K)
        found: dict[int, None] = {}
        for index, target in enumerate(targets):
            token = self._runner.tokenizer.token_of(target)
            if token is None:
                raise InvalidRequest(
                    f"targets[{index}] is not one token of the vocabulary; see Tokenize"
                )
            found[token] = None
        return np.array(list(found), np.intp)

    def _masks(self, index: int, text: TokenizedText) -> list[int]:
        places = [place for place, token in enumerate(text.ids) if token == self._mask_id]
        if not places:
            cut = " in what was kept of it" if text.truncated else ""
            raise InvalidRequest(
                f"texts[{index}] has no mask{cut}; write {self._mask} where a token is to be found"
            )
        return places

    def _read(
        self, answers: Sequence[Answer], targets: Places | None, top_k: int | None
    ) -> list[list[list[Candidate]]]:
        """Return candidates by text and mask."""
        most = DEFAULT_TOP_K if top_k is None else top_k
        return [
            [self._candidates(row, targets, most) for row in cast("Values", answer[0])]
            for answer in answers
        ]

    def _candidates(self, logits: Values, targets: Places | None, most: int) -> list[Candidate]:
        scores = softmax(logits)
        places = best(scores, most) if targets is None else targets[best(scores[targets], most)]
        return [
            Candidate(
                token, self._detokenizer.piece(token), self._detokenizer.text([token]), float(score)
            )
            for token, score in zip(places.tolist(), scores[places], strict=True)
        ]


def _filled(found: Sequence[list[Candidate]], places: Sequence[int], text: TokenizedText) -> Filled:
    offsets = text.offsets
    masks = [
        FilledMask(candidates, *offsets[place])
        for candidates, place in zip(found, places, strict=True)
    ]
    return Filled(masks, text)


def _require_room(num_masks: int, top_k: int | None, targets: Sequence[str]) -> int:
    """Return how many candidates an answer has at most, or refuse that many."""
    each = DEFAULT_TOP_K if top_k is None else top_k
    count = num_masks * (min(each, len(targets)) if targets else each)
    if count > MAX_CANDIDATES:
        raise InvalidRequest(
            f"{num_masks} masks with top_k {each} are up to {count} candidates, at most "
            f"{MAX_CANDIDATES} are given; lower top_k or split the call"
        )
    return count
