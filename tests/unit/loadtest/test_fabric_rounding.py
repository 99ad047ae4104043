import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from loadtest.fabric.rounding import three_digits


def rounded(value: float) -> float:
    return float(three_digits(np.array([value]))[0])


def test_digits_that_are_kept() -> None:
    given_ms = [-1.0, 0.0, 0.0004, 0.0006, 1.2345, 99.96, 147.4, 3432.0, 58760.0]

    assert [rounded(ms) for ms in given_ms] == [
        0.0, 0.0, 0.0, 0.001, 1.23, 100.0, 147.0, 3430.0, 58800.0,
    ]  # fmt: skip


@given(st.floats(0.01, 1e7))
def test_error_is_half_a_percent_at_most_and_the_text_is_short(ms: float) -> None:
    found = rounded(ms)

    # Half a us more where us are the last digit there is.
    assert abs(found - ms) <= 0.005 * ms + 0.0006
    assert len(f"{found:.12g}".replace(".", "").strip("0")) <= 3
    assert rounded(found) == found
