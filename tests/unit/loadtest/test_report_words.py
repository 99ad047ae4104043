"""Numbers as people read them."""

import pytest

from loadtest.analysis.figures import Latency
from loadtest.report import words

LATENCY = Latency(
    samples=60,
    mean=1200.0,
    p50=1100.0,
    p90=2500.0,
    p95=None,
    p99=None,
    p999=None,
    max=9_000_000.0,
    needed={"p50": 7, "p90": 44, "p95": 90, "p99": 459, "p999": 4603},
    upper={"p95": None, "p99": None, "p999": None},
)


@pytest.mark.parametrize(
    ("value_us", "text"),
    [
        (None, "–"),  # noqa: RUF001
        (0.0, "0 µs"),
        (0.0007, "0 µs"),
        (0.25, "0.25 µs"),
        (1.0, "1.00 µs"),
        (66.07, "66.1 µs"),
        (999.4, "999 µs"),
        (999.6, "1.00 ms"),
        (12_345.0, "12.3 ms"),
        (999_600.0, "1.00 s"),
        (1_234_567_890.0, "1,230 s"),
        (-1500.0, "-1.50 ms"),
    ],
)
def test_duration_has_the_unit_that_a_person_would_choose(
    value_us: float | None, text: str
) -> None:
    assert words.duration(value_us) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.5, "0.500"),
        (48.4, "48.4"),
        (99.96, "100"),
        (251.73, "251.7"),
        (21_730.4, "21,730"),
    ],
)
def test_rate_never_goes_into_powers_of_ten(value: float, text: str) -> None:
    assert words.rate(value) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(512, "512 B"), (1 << 20, "1.00 MiB"), (430 << 20, "430 MiB"), (9 << 30, "9.00 GiB")],
)
def test_size_is_binary(size: int, text: str) -> None:
    assert words.size(size) == text


def test_percentile_without_its_samples_is_how_many_it_needs() -> None:
    claims = [words.claim(LATENCY, name) for name in words.LABELS]

    assert claims == ["1.10 ms", "2.50 ms", "n<90", "n<459", "n<4603"]
    assert words.tail(None, 99) == "n<459"
    assert words.tail(500.0, 99) == "500 µs"


def test_share_of_nothing_is_no_number() -> None:
    assert words.share(0, 0) == words.NOTHING
    assert words.share(23, 6010) == "0.383 %"


def test_one_call_is_singular() -> None:
    assert [words.plural(many, "call") for many in (0, 1, 1200)] == [
        "0 calls",
        "1 call",
        "1,200 calls",
    ]
