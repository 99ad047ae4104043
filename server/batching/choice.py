"""How a bundle runs: what was asked for, else what was tuned, else what is safe."""

from dataclasses import dataclass

import msgspec

from server.batching.cost import Cost
from server.config import ServerConfig, default_threads
from server.repository import tuning
from server.repository.bundle import Bundle
from server.repository.tuning import Tuned, TuningKey
from server.runtime.hardware import identity
from server.runtime.session import runtime_version

GPU_THREADS = 2
"""A GPU runs one batch at a time; the second thread prepares the next one meanwhile."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Threads and limits of one bundle's runs."""

    num_threads: int
    """Runs at the same time."""
    intra_op_threads: int = 1
    """Cores that one run uses."""
    spin: bool = False
    max_batch_tokens: int = 0
    """0 leaves it to the bundle."""
    cost: Cost | None = None
    """Of runs with these threads; None where it was not measured yet."""

    @property
    def num_sessions(self) -> int:
        """Sessions to open: runs on several cores need one each, or they share one's threads."""
        return self.num_threads if self.intra_op_threads > 1 else 1


ONE_CORE = Choice(num_threads=1)


def choose(bundle: Bundle, config: ServerConfig) -> Choice:
    """Return how to run a bundle, with the help of what was tuned for it here."""
    return resolve(config, tuned(config.tuning, bundle.digest, config.provider))


def resolve(config: ServerConfig, known: Tuned | None) -> Choice:
    """Merge options over tuned values over safe ones: one core a run, and no spinning."""
    tokens = config.max_batch_tokens or (known.max_batch_tokens if known else 0)
    if config.provider != "cpu":
        return Choice(GPU_THREADS, max_batch_tokens=tokens, cost=_cost(known))
    # Threads were tuned for all cores; who gives the server some of them means those.
    has_all = config.threads == default_threads()
    if known and has_all and config.intra_op_threads in {0, known.intra_op_threads}:
        return Choice(known.num_threads, known.intra_op_threads, known.spin, tokens, _cost(known))
    intra_op_threads = config.intra_op_threads or 1
    is_same = known is not None and intra_op_threads == known.intra_op_threads == 1
    return Choice(
        max(1, config.threads // intra_op_threads),
        intra_op_threads,
        max_batch_tokens=tokens,
        cost=_cost(known) if is_same else None,
    )


def tuned(directory: str, digest: str, provider: str) -> Tuned | None:
    """Return what heed-serve tune found for a bundle on this machine, None where it did not."""
    return tuning.read(directory, tuning_key(digest, provider))


def tuning_key(digest: str, provider: str) -> TuningKey:
    """Return what a measurement made here and now holds for."""
    return TuningKey(digest, identity(provider, default_threads()), runtime_version())


def _cost(known: Tuned | None) -> Cost | None:
    return Cost(**msgspec.structs.asdict(known.cost)) if known else None
