"""The built-in texts: what a model may meet, for a check that needs no file of the user's.

`texts.txt` holds one text a line: news, manuals, questions, dialogue, reviews, law, medicine, code,
numbers, a few words or eighty, and every seventh or so in a language other than English. All were
written for this file.
"""

from functools import cache
from importlib.resources import files

import numpy as np

_SEED = 20


@cache
def texts() -> tuple[str, ...]:
    """Return the texts in the order of the file."""
    source = files("export.quality").joinpath("texts.txt")
    return tuple(source.read_text(encoding="utf-8").splitlines())


@cache
def pairs() -> tuple[tuple[str, str], ...]:
    """Return as many pairs as texts, each text once on either side and never with itself."""
    order = np.random.default_rng(_SEED).permutation(len(texts()))
    return tuple(
        (texts()[left], texts()[right])
        for left, right in zip(order, np.roll(order, -1), strict=True)
    )
