from pathlib import Path

import numpy as np
import pytest

from loadtest.scenario import Fixed, LogNormal, Overrides, Uniform, load
from loadtest.workload import MAX_PAYLOADS, lengths, payloads, texts, words, write_texts
from protos.heed.v1 import text_pb2


def generator(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_log_normal_lengths_have_the_mean_asked_for() -> None:
    drawn = lengths(LogNormal(), 20_000, generator())

    assert drawn.mean() == pytest.approx(34, rel=0.03)
    assert drawn.max() == 231
    # A long tail: the median lies well below the mean.
    assert np.median(drawn) < 28


def test_fixed_lengths_are_all_alike() -> None:
    assert set(lengths(Fixed(tokens=16), 100, generator()).tolist()) == {16}


def test_uniform_lengths_reach_both_ends() -> None:
    assert set(lengths(Uniform(min=4, max=6), 1000, generator()).tolist()) == {4, 5, 6}


def test_every_text_has_a_word() -> None:
    assert [len(text.split()) for text in texts(Fixed(tokens=1), 3, generator())] == [1, 1, 1]


def test_a_text_has_two_words_less_than_tokens() -> None:
    assert [len(text.split()) for text in texts(Fixed(tokens=12), 2, generator())] == [10, 10]


def test_words_are_distinct_single_lower_case_pieces() -> None:
    vocabulary = words()

    assert len(set(vocabulary)) == len(vocabulary) > 1000
    assert all(word.isascii() and word.isalpha() and word.islower() for word in vocabulary)


def test_payloads_are_seeded() -> None:
    scenario = load("open", Overrides(texts_per_call=2))
    other = load("open", Overrides(texts_per_call=2, seed=2))

    assert payloads(scenario, "m", 5) == payloads(scenario, "m", 5)
    assert payloads(scenario, "m", 5) != payloads(other, "m", 5)


def test_payloads_are_requests_with_so_many_texts() -> None:
    bodies = payloads(load("open", Overrides(texts_per_call=3)), "m", 4)

    requests = [text_pb2.EmbedRequest.FromString(payload.body) for payload in bodies]
    assert [(request.model, len(request.texts)) for request in requests] == [("m", 3)] * 4
    assert len({payload.body for payload in bodies}) == 4


def test_payloads_are_bounded() -> None:
    assert len(payloads(load("closed", Overrides()), "m", 1 << 20)) == MAX_PAYLOADS


def test_written_texts_are_those_of_the_run(tmp_path: Path) -> None:
    scenario = load("closed", Overrides.none())
    write_texts(scenario, 5, tmp_path / "texts.txt")

    written = (tmp_path / "texts.txt").read_text("utf-8").splitlines()

    sent = [
        text_pb2.EmbedRequest.FromString(one.body).texts[0] for one in payloads(scenario, "m", 5)
    ]
    assert written == sent
