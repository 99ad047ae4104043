"""Answers to questions, scored as SQuAD scores them.

Follows the official `evaluate-v2.0.py` of SQuAD 2.0 (Rajpurkar et al., 2018): answers are compared
in lower case, without punctuation, articles and extra white space; the best of the accepted answers
counts; a question without an answer is right when nothing is answered. English, like SQuAD: other
languages keep their articles.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b", re.UNICODE)
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """Return the text as it is compared."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(accepted: Sequence[str], answer: str) -> float:
    """Return 1 if the answer is one of the accepted, 0 otherwise."""
    said = normalise(answer)
    return float(any(said == true for true in _normalised(accepted)))


def overlap(accepted: Sequence[str], answer: str) -> float:
    """Return the F1 of the words shared with the best accepted answer, in [0, 1]."""
    said = normalise(answer).split()
    return max(_f1(true.split(), said) for true in _normalised(accepted))


def _normalised(accepted: Sequence[str]) -> list[str]:
    return [text for text in map(normalise, accepted) if text] or [""]


def _f1(true: list[str], said: list[str]) -> float:
    if not true or not said:
        return float(true == said)
    shared = (Counter(true) & Counter(said)).total()
    return 2 * shared / (len(true) + len(said))
