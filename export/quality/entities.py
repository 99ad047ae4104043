"""Named entities in tagged words, counted as the CoNLL shared tasks count them.

The rules are those of `conlleval` (Tjong Kim Sang and Buchholz, CoNLL-2000; used again in 2003): an
entity is right when its first word, its last word and its type are. They read IOB2 and its
relatives IOB1, IOBES and BILOU alike, and an I- tag after nothing begins an entity.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Tags = Sequence[Sequence[str]]
"""One sequence of tags for each sentence."""
Entity = tuple[int, int, str]
"""First word, one after the last, type."""

_TAG = re.compile(r"O|([BIESLU])-(.+)")


def has_entities(sentences: Tags) -> bool:
    """Tell whether the tags spell entities, rather than parts of speech, say."""
    tags = {tag for sentence in sentences for tag in sentence}
    return all(_TAG.fullmatch(tag) for tag in tags) and tags != {"O"}


def entities(tags: Sequence[str]) -> set[Entity]:
    """Return the entities of one sentence; a tag outside the scheme is O."""
    found: set[Entity] = set()
    start, kind = 0, ""
    for index, tag in enumerate([*tags, "O"]):
        match = _TAG.fullmatch(tag)
        prefix, named = match.groups(default="") if match else ("", "")
        if kind and (prefix in {"", "B", "S", "U"} or named != kind):
            found.add((start, index, kind))
            kind = ""
        if named and not kind:
            start, kind = index, named
        if prefix in {"E", "L", "S", "U"}:
            found.add((start, index + 1, kind))
            kind = ""
    return found


def count(gold: Tags, predicted: Tags) -> NDArray[np.float64]:
    """Return right, predicted and true entities of each sentence, shape (sentences, 3)."""
    rows = []
    for expected, found in zip(gold, predicted, strict=True):
        true, said = entities(expected), entities(found)
        rows.append((len(true & said), len(said), len(true)))
    return np.array(rows, np.float64)
