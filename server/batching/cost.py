"""What a run is predicted to cost, in the time of one token.

Pure. Everything but attention is linear in tokens; attention grows with the square of a row.
With h hidden units a layer spends 24 h^2 operations per token outside attention and 4 h L inside,
equal at L = 6 h (Kaplan et al. 2020, appendix of arXiv:2001.08361); the fused kernel is slower per
operation than the matrix products, so in time they are equal earlier.
"""

from collections.abc import Iterable
from dataclasses import dataclass

RUN_OVERHEAD_TOKENS = 24.0
"""Fixed cost of a run, in tokens: it reads every weight once, however few tokens there are.

MiniLM-L6 fp32 on one AVX-512 core: 5.5 ms for 8 tokens, 0.17 ms for each token of a larger run.
"""
ATTENTION_RATE = 0.3
"""Operations per second inside attention over those outside. Same measurement, rows of 64 to 1024
tokens: 145, 161, 181, 225, 327 us a token."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost model of one bundle."""

    attention_tokens: float
    """Row length at which attention costs as much as the rest."""
    run_overhead_tokens: float = RUN_OVERHEAD_TOKENS

    @classmethod
    def of_transformer(cls, hidden_size: int) -> "Cost":
        """Return the model that follows from a transformer layer's operations and their rates."""
        return cls(attention_tokens=ATTENTION_RATE * 6.0 * hidden_size)

    def run(self, num_rows: int, width: int) -> float:
        """Return the cost of one run of `num_rows` rows, each `width` tokens with padding."""
        return self.run_overhead_tokens + num_rows * width * (1.0 + width / self.attention_tokens)

    def alone(self, lengths: Iterable[int]) -> float:
        """Return the cost of running every sequence by itself."""
        return sum(self.run(1, length) for length in lengths)
