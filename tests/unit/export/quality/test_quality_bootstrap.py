import numpy as np
import pytest

from export.quality.bootstrap import Interval, Rows, paired_bootstrap


def mean(rows: Rows) -> float:
    return float(rows.mean())


def right(share: float, examples: int = 400) -> Rows:
    return (np.arange(examples) < share * examples).astype(np.float64)[:, None]


def test_the_same_answers_differ_by_nothing() -> None:
    intervals = paired_bootstrap(mean, right(0.8), right(0.8))
    assert intervals.difference == Interval(0, 0)
    assert intervals.reference == intervals.bundle


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution() -> None:
    intervals = paired_bootstrap(mean, right(0.8), right(0.8))
    error = 1.96 * np.sqrt(0.8 * 0.2 / 400)
    assert intervals.reference.low == pytest.approx(0.8 - error, abs=0.006)
    assert intervals.reference.high == pytest.approx(0.8 + error, abs=0.006)


def test_pairs_are_drawn_together() -> None:
    # Both systems vary with the examples drawn, their distance on every example does not.
    reference = np.random.default_rng(3).normal(size=(300, 1))
    intervals = paired_bootstrap(mean, reference, reference - 0.25)
    assert intervals.difference.low == pytest.approx(-0.25)
    assert intervals.difference.high == pytest.approx(-0.25)
    assert intervals.reference.high - intervals.reference.low > 0.1


def test_a_real_loss_is_told_from_luck() -> None:
    lost = paired_bootstrap(mean, right(0.9), right(0.8)).difference
    assert lost.high < 0
    swapped = right(0.5)[::-1].copy()
    luck = paired_bootstrap(mean, right(0.5), swapped).difference
    assert luck.low < 0 < luck.high


def test_it_covers_the_truth_as_often_as_it_says() -> None:
    draw = np.random.default_rng(1)
    covered = 0
    for _ in range(100):
        rows = (draw.random((200, 1)) < 0.7).astype(np.float64)
        interval = paired_bootstrap(mean, rows, rows).reference
        covered += interval.low <= 0.7 <= interval.high
    assert covered >= 88


def test_the_same_rows_give_the_same_interval() -> None:
    assert paired_bootstrap(mean, right(0.6), right(0.7)) == paired_bootstrap(
        mean, right(0.6), right(0.7)
    )


def test_resamples_without_a_value_are_left_out() -> None:
    def ratio(rows: Rows) -> float:
        return float(rows[:, 0].sum() / rows[:, 1].sum()) if rows[:, 1].any() else float("nan")

    rows = np.array([[1.0, 2.0], [0.0, 0.0], [0.0, 0.0]])
    assert paired_bootstrap(ratio, rows, rows).reference == Interval(0.5, 0.5)
