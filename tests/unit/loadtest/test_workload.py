from pathlib import Path

import numpy as np
import pytest

from loadtest.errors import RunFailed
from loadtest.scenario.lengths import Bimodal, Fixed, FromFile, Lengths, Listed, LogNormal, Uniform
from loadtest.scenario.requests import Request
from loadtest.scenario.schema import Arrival, Closed, Open, Replay
from loadtest.workload.lengths import MAX_TOKENS, draw, stream
from loadtest.workload.texts import MAX_PAYLOADS, pool_of, texts, words, write_texts


def generator(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_log_normal_lengths_have_the_mean_asked_for() -> None:
    drawn = draw(LogNormal(), 20_000, generator())

    assert drawn.mean() == pytest.approx(34, rel=0.03)
    assert drawn.max() == 231
    # A long tail: the median lies well below the mean.
    assert np.median(drawn) < 28


def test_fixed_lengths_are_all_alike() -> None:
    assert set(draw(Fixed(tokens=16), 100, generator()).tolist()) == {16}


def test_uniform_lengths_reach_both_ends() -> None:
    assert set(draw(Uniform(min=4, max=6), 1000, generator()).tolist()) == {4, 5, 6}


def test_bimodal_lengths_are_two_in_the_share_asked_for() -> None:
    drawn = draw(Bimodal(short=8, long=200, long_share=0.25), 10_000, generator())

    assert set(drawn.tolist()) == {8, 200}
    assert (drawn == 200).mean() == pytest.approx(0.25, abs=0.02)


def test_listed_lengths_are_drawn_as_often_as_they_are_listed() -> None:
    drawn = draw(Listed(tokens=(5, 5, 5, 90)), 10_000, generator())

    assert set(drawn.tolist()) == {5, 90}
    assert (drawn == 90).mean() == pytest.approx(0.25, abs=0.02)


def test_lengths_of_a_file_that_was_not_read_are_refused() -> None:
    with pytest.raises(RunFailed, match=r"lengths\.txt has not been read"):
        draw(FromFile(path="lengths.txt"), 1, generator())


@pytest.mark.parametrize(
    "distribution",
    [
        Fixed(tokens=MAX_TOKENS + 1),
        Uniform(min=1, max=10**30),
        LogNormal(max=10**400),
        Bimodal(short=10**30, long=1),
        Listed(tokens=(1, 10**30)),
    ],
)
def test_lengths_that_no_text_has_are_refused(distribution: Lengths) -> None:
    with pytest.raises(RunFailed, match="is the most"):
        draw(distribution, 1, generator())


@pytest.mark.parametrize("sigma", [float("inf"), float("nan"), 1e200])
def test_spreads_without_a_distribution_are_refused(sigma: float) -> None:
    with pytest.raises(RunFailed, match="must be finite"):
        draw(LogNormal(sigma=sigma), 1, generator())


def test_a_spread_beyond_all_numbers_is_cut_at_the_longest() -> None:
    assert set(draw(LogNormal(sigma=1e6), 1000, generator()).tolist()) == {3}
    assert set(draw(LogNormal(mean=1e300, sigma=0.1), 1000, generator()).tolist()) == {231}


def test_every_drawn_text_has_a_word() -> None:
    assert [len(text.split()) for text in texts(Fixed(tokens=1), 3, generator())] == [1, 1, 1]


def test_a_text_has_two_words_less_than_tokens() -> None:
    assert [len(text.split()) for text in texts(Fixed(tokens=12), 2, generator())] == [10, 10]


def test_words_are_distinct_single_lower_case_pieces() -> None:
    vocabulary = words()

    assert len(set(vocabulary)) == len(vocabulary) > 1000
    assert all(word.isascii() and word.isalpha() and word.islower() for word in vocabulary)


def test_streams_differ_by_what_they_are_for() -> None:
    purposes = [(), (0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 0)]

    assert len({stream(5, *purpose).integers(2**62) for purpose in purposes}) == len(purposes)


def test_pool_does_not_depend_on_rate_or_method() -> None:
    slow = Open(rate=1)
    fast = Open(rate=500, requests=(Request(rpc="rerank", model="other"),))

    assert pool_of(slow, 20) == pool_of(fast, 20)


def test_written_texts_are_the_first_of_the_pool(tmp_path: Path) -> None:
    scenario = Closed(in_flight=1, requests=(Request(texts_per_call=2),))
    write_texts(scenario, 5, tmp_path / "texts.txt")

    assert (tmp_path / "texts.txt").read_text("utf-8").splitlines() == pool_of(scenario, 10)


def test_no_more_texts_are_written_than_a_run_has(tmp_path: Path) -> None:
    short = Closed(in_flight=1, requests=(Request(lengths=Fixed(tokens=3)),))
    write_texts(short, 1 << 20, tmp_path / "texts.txt")

    assert len((tmp_path / "texts.txt").read_text("utf-8").splitlines()) == MAX_PAYLOADS


def test_pool_of_a_replay_has_the_recorded_lengths() -> None:
    replay = Replay(recorded=(Arrival(0, (5, 2)), Arrival(1, (9,))))

    assert [len(text.split()) for text in pool_of(replay, 4)] == [3, 0, 7, 3]


def test_pool_of_a_replay_that_was_not_read_is_refused() -> None:
    with pytest.raises(RunFailed, match=r"trace: day\.jsonl has not been read"):
        pool_of(Replay(trace="day.jsonl"), 1)
