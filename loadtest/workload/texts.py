"""The texts of a run: seeded lengths, and words from the package.

Sends nothing and needs no network: the words are whole pieces of the usual WordPiece vocabulary,
so a text of n words has n tokens and the two special ones.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from importlib import resources
from itertools import chain, cycle, islice
from pathlib import Path
from typing import Final

import numpy as np

from loadtest.errors import RunFailed
from loadtest.scenario.lengths import Lengths
from loadtest.scenario.schema import AnyScenario, Replay
from loadtest.workload.lengths import SPECIAL_TOKENS, draw, stream

MAX_PAYLOADS: Final = 2048
"""Different bodies in one run; call i sends body i modulo this. Enough that no cache keyed by text
could be warm by luck, few enough to build in well under a second."""

_LENGTHS, _WORDS, _OTHERS = range(3)


@cache
def words() -> tuple[str, ...]:
    """Return the embedded words, all different."""
    path = resources.files("loadtest.workload") / "words.txt"
    return tuple(path.read_text(encoding="utf-8").split())


def text(tokens: int, generator: np.random.Generator) -> str:
    """Return random words that with the special tokens around them have so many tokens."""
    vocabulary = words()
    chosen = generator.integers(0, len(vocabulary), max(0, tokens - SPECIAL_TOKENS))
    return " ".join([vocabulary[place] for place in chosen.tolist()])


def texts(distribution: Lengths, count: int, generator: np.random.Generator) -> list[str]:
    """Return so many texts of random words."""
    return [text(tokens, generator) for tokens in draw(distribution, count, generator).tolist()]


class Draws:
    """What one kind of request draws: lengths, texts, and whatever comes beside the texts.

    From three streams, so that the same texts are sent whichever method they are sent to.
    """

    def __init__(self, seed: int, kind: int) -> None:
        self._lengths = stream(seed, kind, _LENGTHS)
        self._words = stream(seed, kind, _WORDS)
        self.others = stream(seed, kind, _OTHERS)

    def lengths(self, distribution: Lengths, count: int) -> list[int]:
        """Return the lengths of the next call."""
        drawn: list[int] = draw(distribution, count, self._lengths).tolist()
        return drawn

    def text(self, tokens: int) -> str:
        """Return the next text."""
        return text(tokens, self._words)

    def other(self, tokens: int) -> str:
        """Return a text that comes beside those: a query, or the second of a pair."""
        return text(tokens, self.others)


def pool_of(scenario: AnyScenario, count: int) -> list[str]:
    """Return the first so many texts of a scenario's first request."""
    draws = Draws(scenario.seed, 0)
    each_call = chain.from_iterable(_calls(scenario, draws))
    return [draws.text(tokens) for tokens in islice(each_call, count)]


def write_texts(scenario: AnyScenario, calls: int, path: Path) -> None:
    """Write the texts of a run of so many calls, one a line, for others to measure with."""
    count = min(calls, MAX_PAYLOADS) * scenario.requests[0].texts_per_call
    path.write_text("\n".join(pool_of(scenario, count)) + "\n", encoding="utf-8")


def require_recording(scenario: Replay) -> None:
    """Refuse a replay whose trace nobody has read."""
    if not scenario.recorded:
        raise RunFailed(
            f"trace: {scenario.trace or 'no file'} has not been read, or holds no arrivals;"
            " load the scenario by its name or its path"
        )


def _calls(scenario: AnyScenario, draws: Draws) -> Iterator[Sequence[int]]:
    """Yield the lengths of call after call, without end."""
    if isinstance(scenario, Replay):
        require_recording(scenario)
        yield from cycle(arrival.lengths for arrival in scenario.recorded)
    request = scenario.requests[0]
    while True:
        yield draws.lengths(request.lengths, request.texts_per_call)
