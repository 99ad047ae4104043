"""What a run is predicted to take, in seconds.

Pure. Everything but attention is linear in tokens; attention grows with the square of a row.
With h hidden units a layer spends 24 h^2 operations per token outside attention and 4 h L inside,
equal at L = 6 h (Kaplan et al. 2020, appendix of arXiv:2001.08361); the fused kernel is slower per
operation than the matrix products, so in time they are equal earlier.
"""

from collections.abc import Sequence
from dataclasses import dataclass

TOKEN_S = 0.17e-3
"""A token of a large run of MiniLM-L6 in fp32 on one AVX-512 core."""
RUN_TOKENS = 24.0
"""Fixed cost of a run, in tokens: it reads every weight once, however few tokens there are.
Same measurement: 5.5 ms for 8 tokens."""
ATTENTION_RATE = 0.3
"""Operations per second inside attention over those outside. Same measurement, rows of 64 to 1024
tokens: 145, 161, 181, 225, 327 us a token."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost model of one bundle: seconds of a dispatch thread, linear in what a run holds."""

    run_s: float
    """Of every run."""
    row_s: float = 0.0
    token_s: float = 0.0
    """For each token of the rows, padding included."""
    pair_s: float = 0.0
    """For each pair of tokens of a row: attention looks at all of them, whatever it masks."""
    segment_s: float = 0.0
    """For each sequence."""

    @classmethod
    def assumed(cls, hidden_size: int) -> "Cost":
        """Return what follows from a transformer layer's operations, where nothing was measured.

        Ratios hold for every model of this hidden size; seconds only for one like MiniLM-L6.
        """
        return cls(
            run_s=RUN_TOKENS * TOKEN_S,
            token_s=TOKEN_S,
            pair_s=TOKEN_S / (ATTENTION_RATE * 6.0 * hidden_size),
        )

    def run(self, num_rows: int, width: int, num_segments: int) -> float:
        """Return the seconds of one run of rows of `width` tokens, padding included."""
        row_s = self.row_s + width * (self.token_s + width * self.pair_s)
        return self.run_s + num_rows * row_s + num_segments * self.segment_s

    def alone(self, lengths: Sequence[int]) -> float:
        """Return the seconds of running every sequence by itself, one after the other."""
        each_s = self.run_s + self.row_s + self.segment_s
        num_pairs = sum([length * length for length in lengths])
        return len(lengths) * each_s + sum(lengths) * self.token_s + num_pairs * self.pair_s
