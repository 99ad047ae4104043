"""The texts of a run: seeded lengths, words from the package, request bytes ready to send.

Everything is built before the run, because building a payload would delay every call that is due
meanwhile. Sends nothing and needs no network: the words are whole pieces of the usual WordPiece
vocabulary, so a text of n words has n tokens and the two special ones.
"""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt

from loadtest.scenario import Fixed, LogNormal, Scenario, Uniform
from protos.heed.v1 import text_pb2

# Different request bodies in one run; call i sends body i modulo this. Enough that no cache keyed
# by text could be warm by luck, few enough to build in well under a second.
MAX_PAYLOADS = 2048
SPECIAL_TOKENS = 2


@dataclass(frozen=True, slots=True)
class Payload:
    """One request as the bytes that go on the wire."""

    body: bytes
    texts: int


def words() -> list[str]:
    """Return the embedded words, all different."""
    return (resources.files("loadtest") / "words.txt").read_text(encoding="utf-8").split()


def lengths(
    distribution: LogNormal | Fixed | Uniform, count: int, generator: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Return tokens per text, special tokens included, each at least one word long."""
    match distribution:
        case Fixed(tokens=tokens):
            drawn = np.full(count, tokens, dtype=np.int64)
        case Uniform(min=low, max=high):
            drawn = generator.integers(low, high, count, endpoint=True)
        case LogNormal(mean=mean, sigma=sigma, max=longest):
            # mu such that the mean of the distribution, not its median, is the one asked for.
            mu = np.log(mean) - sigma**2 / 2
            drawn = np.rint(generator.lognormal(mu, sigma, count)).astype(np.int64)
            drawn = np.minimum(drawn, longest)
    return np.maximum(drawn, SPECIAL_TOKENS + 1)


def texts(
    distribution: LogNormal | Fixed | Uniform, count: int, generator: np.random.Generator
) -> list[str]:
    """Return so many texts of random words."""
    vocabulary = np.array(words())
    return [
        " ".join(generator.choice(vocabulary, tokens - SPECIAL_TOKENS))
        for tokens in lengths(distribution, count, generator)
    ]


def pool_of(scenario: Scenario, count: int) -> list[str]:
    """Return the first so many texts of a scenario."""
    # A stream of its own, apart from the arrivals: the same texts at any rate.
    return texts(scenario.lengths, count, np.random.default_rng([scenario.seed, 1]))


def write_texts(scenario: Scenario, calls: int, path: Path) -> None:
    """Write the texts of a run of so many calls, one a line, for others to measure with."""
    count = min(calls * scenario.texts_per_call, MAX_PAYLOADS)
    path.write_text("\n".join(pool_of(scenario, count)) + "\n", encoding="utf-8")


def payloads(scenario: Scenario, model: str, calls: int) -> list[Payload]:
    """Return the request bodies of a run of about so many calls."""
    count = max(1, min(calls, MAX_PAYLOADS))
    size = scenario.texts_per_call
    pool = pool_of(scenario, count * size)
    groups = [pool[start : start + size] for start in range(0, count * size, size)]
    return [
        Payload(text_pb2.EmbedRequest(model=model, texts=group).SerializeToString(), len(group))
        for group in groups
    ]
