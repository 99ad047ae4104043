"""Lengths drawn from a distribution, and the streams of random numbers that a workload draws from.

Pure.
"""

import math
from typing import Final, assert_never

import numpy as np
import numpy.typing as npt

from loadtest.errors import RunFailed
from loadtest.scenario.lengths import (
    Bimodal,
    Fixed,
    FromFile,
    Lengths,
    Listed,
    LogNormal,
    Uniform,
)

SPECIAL_TOKENS: Final = 2
"""Around one text, as almost every encoder's tokenizer has them."""
SHORTEST: Final = SPECIAL_TOKENS + 1
"""Of drawn lengths: a text has a word at least."""
MAX_TOKENS: Final = 1 << 20
"""Of one text; more is a mistake in the scenario."""

Drawn = npt.NDArray[np.int64]

# Arrivals have streams of their own, so the same texts are sent at any rate.
_STREAM: Final = 2


def stream(seed: int, *purpose: int) -> np.random.Generator:
    """Return random numbers that depend on the seed and on what they are for only."""
    key = (_STREAM, *purpose)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))


def draw(distribution: Lengths, count: int, generator: np.random.Generator) -> Drawn:
    """Return tokens per text, special tokens included, each at least one word long.

    Raises:
        RunFailed: lengths that no text can have, or a file that nobody has read.
    """
    longest = _longest(distribution)
    if longest > MAX_TOKENS:
        raise RunFailed(f"lengths: a text of {longest} tokens; {MAX_TOKENS} is the most, give less")
    return np.maximum(_draw(distribution, count, generator), SHORTEST)


def _longest(distribution: Lengths) -> int:
    match distribution:
        case Fixed(tokens=tokens):
            return tokens
        case Uniform(max=most) | LogNormal(max=most):
            return most
        case Bimodal(short=short, long=long):
            return max(short, long)
        case Listed(tokens=listed):
            return max(listed)
        case FromFile(path=path):
            raise RunFailed(
                f"lengths: {path} has not been read; load the scenario by its name or its path"
            )
        case _:
            assert_never(distribution)


def _draw(distribution: Lengths, count: int, generator: np.random.Generator) -> Drawn:
    match distribution:
        case Fixed(tokens=tokens):
            return np.full(count, tokens, dtype=np.int64)
        case Uniform(min=low, max=high):
            return generator.integers(low, high, count, endpoint=True)
        case LogNormal():
            return _log_normal(distribution, count, generator)
        case Bimodal(short=short, long=long, long_share=share):
            return np.where(generator.random(count) < share, long, short).astype(np.int64)
        case Listed(tokens=listed):
            return generator.choice(np.array(listed, dtype=np.int64), count)
        case FromFile():
            raise AssertionError("refused above")
        case _:
            assert_never(distribution)


def _log_normal(of: LogNormal, count: int, generator: np.random.Generator) -> Drawn:
    # mu such that the mean of the distribution, not its median, is the one asked for.
    mu = math.log(of.mean) - of.sigma * of.sigma / 2
    if not math.isfinite(mu):
        raise RunFailed("lengths: mean and sigma of a log-normal distribution must be finite")
    drawn: npt.NDArray[np.float64] = generator.lognormal(mu, of.sigma, count)
    # Before they become whole numbers: what overflowed is cut like any other long one.
    return np.rint(np.minimum(drawn, of.max)).astype(np.int64)
