"""What a run is predicted to cost, in the time of one token.

Pure. Everything but attention is linear in tokens; attention grows with the square of a row.
With h hidden units a layer spends 24 h^2 operations per token outside attention and 4 h L inside,
so both halves are equal at L = 6 h (Kaplan et al. 2020, appendix of arXiv:2001.08361).
"""

from collections.abc import Iterable
from dataclasses import dataclass

RUN_OVERHEAD_TOKENS = 8.0
"""Fixed cost of a run: the walk over the graph's nodes, as long as a few tokens take."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost model of one bundle."""

    attention_tokens: float
    """Row length at which attention costs as much as the rest."""
    run_overhead_tokens: float = RUN_OVERHEAD_TOKENS

    @classmethod
    def of_transformer(cls, hidden_size: int) -> "Cost":
        """Return the model that follows from the operation counts of a transformer layer."""
        return cls(attention_tokens=6.0 * hidden_size)

    def run(self, num_rows: int, width: int) -> float:
        """Return the cost of one run of `num_rows` rows, each `width` tokens with padding."""
        return self.run_overhead_tokens + num_rows * width * (1.0 + width / self.attention_tokens)

    def alone(self, lengths: Iterable[int]) -> float:
        """Return the cost of running every sequence by itself."""
        return sum(self.run(1, length) for length in lengths)
