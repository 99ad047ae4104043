from pathlib import Path

import pytest

from loadtest import scenario
from loadtest.scenario import BadScenario, Closed, LogNormal, Open, Overrides


def test_packaged_scenarios_load() -> None:
    loaded = {name: scenario.load(name, Overrides()) for name in scenario.packaged()}

    assert isinstance(loaded["closed"], Closed)
    assert isinstance(loaded["open"], Open)
    assert loaded["open"].lengths == LogNormal(mean=34, sigma=0.8, max=231)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('kind = "closed"\nusers = 1\nthink_s = 1', "think_s"),
        ('kind = "closed"\nusers = 1\nrate = 1', "rate"),
        ('kind = "open"\nrate = 1\n[lengths]\ndistribution = "fixed"\ntokens = 3\nmax = 4', "max"),
        ('kind = "open"\nrate = 0', "rate"),
        ('kind = "open"', "rate"),
        ('kind = "spike"\nrate = 1', "spike"),
        (
            'kind = "open"\nrate = 1\n[lengths]\ndistribution = "uniform"\nmin = 9\nmax = 4',
            "lengths.min 9",
        ),
    ],
)
def test_what_does_not_fit_is_named(text: str, named: str) -> None:
    with pytest.raises(BadScenario, match=named):
        scenario.parse(text, "mine")


def test_overrides_replace_values() -> None:
    loaded = scenario.load("open", Overrides(rate=7.5, duration_s=3, seed=9))

    assert isinstance(loaded, Open)
    assert (loaded.rate, loaded.duration_s, loaded.seed, loaded.warmup_s) == (7.5, 3, 9, 5)


@pytest.mark.parametrize(
    ("name", "overrides", "named"),
    [
        ("open", Overrides(users=4), "no users; pass --rate"),
        ("closed", Overrides(rate=4), "no rate; pass --users"),
        ("closed", Overrides(users=0), "users"),
        ("missing", Overrides(), "known are closed, open"),
        ("missing.toml", Overrides(), "no scenario file"),
    ],
)
def test_a_wrong_order_is_refused(name: str, overrides: Overrides, named: str) -> None:
    with pytest.raises(BadScenario, match=named):
        scenario.load(name, overrides)


def test_a_path_is_a_scenario_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('kind = "closed"\nusers = 3\n')

    assert scenario.load(str(path), Overrides()) == Closed(users=3)
