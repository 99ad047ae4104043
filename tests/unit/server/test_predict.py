"""When an answer is predicted, by what runs have cost."""

import pytest

from server.batching.predict import MARGIN, Predictor


def predictor(num_threads: int = 2) -> Predictor:
    return Predictor(assumed_s=0.001, num_threads=num_threads, budget=100)


def test_idle_server_answers_after_the_run_alone() -> None:
    assert predictor().answer_s(10, 0, now=5.0) == pytest.approx(MARGIN * 0.01)


def test_queue_is_shared_by_the_threads() -> None:
    assert predictor(1).wait_s(400, 0.0) == pytest.approx(2 * predictor(2).wait_s(400, 0.0))


def test_wait_includes_the_run_that_ends_first() -> None:
    predicting = predictor()
    predicting.start(1, 0.5, now=0.0)
    predicting.start(2, 0.2, now=0.0)
    assert predicting.wait_s(0, now=0.1) == pytest.approx(MARGIN * 0.1)


def test_late_run_is_expected_at_any_moment() -> None:
    predicting = predictor(1)
    predicting.start(1, 0.5, now=0.0)
    assert predicting.wait_s(0, now=2.0) == 0.0


def test_more_than_a_run_holds_takes_several() -> None:
    predicting = predictor(2)
    assert predicting.answer_s(300, 0, 0.0) == pytest.approx(MARGIN * (0.1 + 0.1))


def test_first_full_run_outweighs_the_assumption() -> None:
    predicting = predictor()
    predicting.start(1, 0.1, now=0.0)
    predicting.finish(1, predicted_s=0.1, run_s=1.0)
    assert predicting.size_s == pytest.approx(0.01)
    assert predicting.ratio == pytest.approx(10.0)


def test_running_means_follow_a_machine_that_gets_slower() -> None:
    predicting = predictor()
    for run in range(100):
        predicting.start(run, 0.1, now=0.0)
        predicting.finish(run, predicted_s=0.1, run_s=0.1 if run < 50 else 0.2)
    assert predicting.size_s == pytest.approx(0.002, rel=0.05)


def test_failed_run_teaches_nothing() -> None:
    predicting = predictor()
    predicting.start(1, 0.1, now=0.0)
    predicting.finish(1, predicted_s=0.0, run_s=0.5)
    assert (predicting.size_s, predicting.ratio) == (0.001, 1.0)


def test_small_runs_do_not_make_full_ones_look_dear() -> None:
    predicting = predictor()
    for run in range(1000):  # the fixed cost, and next to no tokens
        predicting.start(run, 0.05, now=0.0)
        predicting.finish(run, predicted_s=0.05, run_s=0.05)
    assert predicting.size_s == pytest.approx(0.001)


def test_ended_run_counts_where_it_had_already_taken_too_long() -> None:
    predicting = predictor()
    predicting.start(1, 0.1, now=0.0)
    predicting.finish(1, predicted_s=0.1, run_s=0.05, ended=True)
    assert predicting.ratio == 1.0
    predicting.start(2, 0.1, now=0.0)
    predicting.finish(2, predicted_s=0.1, run_s=0.3, ended=True)
    assert predicting.ratio > 1.0
