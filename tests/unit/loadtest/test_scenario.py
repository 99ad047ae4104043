from pathlib import Path

import pytest

from loadtest.scenario.files import Overrides, load, option_of, packaged, parse, read
from loadtest.scenario.lengths import Fixed, Listed, LogNormal
from loadtest.scenario.requests import Request
from loadtest.scenario.schema import Arrival, BadScenario, Closed, Offline, Open, Replay
from loadtest.scenario.size import expected_calls

NAMES = [
    "concurrency",
    "constant",
    "infer",
    "mixed",
    "multi-stream",
    "offline",
    "ramp",
    "replay",
    "server",
    "single-stream",
    "soak",
    "spike",
    "steps",
]


def test_every_scenario_that_is_promised_comes_with_the_package() -> None:
    assert packaged() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_packaged_scenario_says_what_it_is(name: str) -> None:
    scenario = read(name)

    assert scenario.description
    if name != "replay":
        assert load(name, Overrides()) == scenario


def test_packaged_scenarios_are_those_of_mlperf() -> None:
    single, multi = load("single-stream", Overrides()), load("multi-stream", Overrides())
    server, offline = load("server", Overrides()), load("offline", Overrides())

    assert isinstance(single, Closed)
    assert (single.in_flight, single.percentile) == (1, 90)
    assert isinstance(multi, Closed)
    assert (multi.in_flight, multi.requests[0].texts_per_call, multi.percentile) == (1, 8, 99)
    assert isinstance(server, Open)
    assert (server.arrivals, server.percentile) == ("poisson", 99)
    assert isinstance(offline, Offline)
    assert server.requests == (Request(lengths=LogNormal(mean=34, sigma=0.8, max=231)),)


ONE = 'kind = "open"\nrate = 1\n'


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('kind = "closed"\nin_flight = 1\nthink_s = 1', "`think_s`; it may have kind, .*in_flight"),
        ('kind = "closed"\nin_flight = 1\nrate = 1', "`rate`; it may have"),
        ('kind = "closed"\nin_flight = 0', "in_flight: Expected `int` >= 1"),
        ("rate = 1", "`kind`; allowed are closed, open, offline, replay"),
        ('kind = "spike"\nrate = 1', "kind: .*'spike'; allowed are closed, open, offline, replay"),
        ("kind = 3", "kind: Expected `str`"),
        ('kind = "open"', "either rate or phases"),
        ('kind = "open"\nrate = 0', "rate: Expected `float` > 0"),
        ('kind = "open"\nrate = inf', "rate: inf is not a finite number"),
        ('kind = "open"\nrate = nan', "rate: nan is not a finite number"),
        ('kind = "open"\nrate =', "not TOML"),
        (ONE + 'arrivals = "random"', "arrivals: .*'random'; allowed are constant, poisson"),
        (ONE + '[[requests]]\nrpc = "embd"', r"requests\[0\]\.rpc: .*'embd'; allowed .*embed,"),
        (ONE + "[[requests]]\ntexts = 3", r"requests\[0\]: .*`texts`; .*texts_per_call"),
        (
            ONE + '[[requests]]\nlengths = { distribution = "fixed", tokens = 3, max = 4 }',
            r"requests\[0\]\.lengths: .*`max`; it may have distribution, tokens$",
        ),
        (
            ONE + '[[requests]]\nlengths = { distribution = "normal" }',
            "'normal'; allowed are lognormal, fixed, uniform, bimodal, file, listed",
        ),
        (ONE + "[[requests]]\nlengths = { tokens = 3 }", "`distribution`; allowed are lognormal"),
        (
            ONE + '[[requests]]\nlengths = { distribution = "uniform", min = 9, max = 4 }',
            "lengths.min 9",
        ),
        (ONE + "[requests]\nrpc = 1", "requests: Expected `array`"),
        (ONE + "[[requests]]\ntensors = { ids = { shap = [1] } }", "`shap`; it may have shape"),
        ('kind = "open"\nphases = [{ for_s = 1, rat = 2 }]', r"phases\[0\]: .*`rat`; .*to_rate"),
        ('kind = "open"\nphases = [{ rate = 2 }]', r"phases\[0\]: .*required field `for_s`"),
        (ONE + "phases = [{ for_s = 1, rate = 1 }]", "either rate or phases"),
    ],
)
def test_what_does_not_fit_is_named_with_what_would(text: str, named: str) -> None:
    with pytest.raises(BadScenario, match=f"scenario mine.*{named}"):
        parse(text, "mine")


def test_overrides_replace_values() -> None:
    loaded = load(
        "server",
        Overrides(rate=7.5, duration_s=3, seed=9, bound_ms=20, rpc="classify", texts_per_call=2),
    )

    assert isinstance(loaded, Open)
    assert (loaded.rate, loaded.duration_s, loaded.seed, loaded.warmup_s) == (7.5, 3, 9, 5)
    assert (loaded.bound_ms, loaded.arrivals) == (20, "poisson")
    (request,) = loaded.requests
    assert (request.rpc, request.texts_per_call) == ("classify", 2)
    assert request.lengths == LogNormal()


def test_texts_per_call_is_of_every_kind_of_request() -> None:
    loaded = load("mixed", Overrides(texts_per_call=3))

    assert {request.texts_per_call for request in loaded.requests} == {3}


@pytest.mark.parametrize(
    ("name", "overrides", "named"),
    [
        ("server", Overrides(in_flight=4), "open loop .*no --in-flight; it takes --rate"),
        ("concurrency", Overrides(rate=4), "closed loop .*no --rate; it takes --in-flight"),
        ("concurrency", Overrides(calls=4), "no --calls; it takes --in-flight"),
        ("offline", Overrides(duration_s=4), "all calls at once .*no --duration; it takes --calls"),
        ("server", Overrides(trace="x"), "no --trace"),
        ("replay", Overrides(rate=4), "runs a recording and takes no --rate; it takes --trace"),
        ("steps", Overrides(rate=4), "phases .*--rate fits one with a single rate"),
        ("spike", Overrides(duration_s=4), "phases .*--duration fits one with a single rate"),
        ("mixed", Overrides(rpc="embed"), "mixes 3 kinds of calls, so --rpc fits none"),
        ("concurrency", Overrides(in_flight=0), "with the given options: in_flight: .*>= 1"),
        ("server", Overrides(rate=float("nan")), "rate: nan is not a finite number"),
        ("server", Overrides(percentile=100), "percentile: .*<= 99.99"),
        ("server", Overrides(rate=1e9), "20,000,000 is the most: lower the rate"),
        ("server", Overrides(duration_s=1e9), "604800 s"),
        ("concurrency", Overrides(duration_s=1e300), "a week"),
        ("offline", Overrides(calls=10**9), "calls; 20,000,000 is the most"),
        ("replay", Overrides(), "give --trace FILE"),
        ("missing", Overrides(), "known are concurrency, constant, infer"),
        ("missing.toml", Overrides(), r"missing\.toml: No such file"),
        (".toml", Overrides(), "No such file"),
    ],
)
def test_a_wrong_order_is_refused(name: str, overrides: Overrides, named: str) -> None:
    with pytest.raises(BadScenario, match=named):
        load(name, overrides)


def test_a_path_is_a_scenario_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('kind = "closed"\nin_flight = 3\n')

    assert load(str(path), Overrides()) == Closed(in_flight=3)


def test_a_folder_or_a_binary_file_is_no_scenario(tmp_path: Path) -> None:
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")

    with pytest.raises(BadScenario, match="Is a directory"):
        load(str(tmp_path / "folder.toml"), Overrides())
    with pytest.raises(BadScenario, match="not a text file"):
        load(str(tmp_path / "binary.toml"), Overrides())


def test_files_lie_beside_the_scenario(tmp_path: Path) -> None:
    (tmp_path / "lengths.txt").write_text("# tokens\n12\n\n7\n")
    (tmp_path / "trace.csv").write_text("0,3\n1,4\n")
    path = tmp_path / "mine.toml"
    path.write_text(
        'kind = "replay"\ntrace = "trace.csv"\n[[requests]]\n'
        'lengths = { distribution = "file", path = "lengths.txt" }'
    )

    loaded = load(str(path), Overrides())

    assert isinstance(loaded, Replay)
    assert loaded.requests[0].lengths == Listed((12, 7))
    assert loaded.recorded == (Arrival(0.0, (3,)), Arrival(1.0, (4,)))
    assert loaded.trace == "trace.csv"


def test_a_trace_given_as_an_option_lies_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "other.csv").write_text("0,3\n2,4\n")
    (tmp_path / "mine.toml").write_text('kind = "replay"\ntrace = "trace.csv"')
    monkeypatch.chdir(tmp_path / "here")

    for name in ("../mine.toml", "replay"):
        loaded = load(name, Overrides(trace="other.csv"))

        assert isinstance(loaded, Replay)
        assert loaded.recorded[-1].at_s == 2


def test_arrivals_in_the_scenario_itself_are_put_in_order(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('kind = "replay"\nrecorded = [[1.0, [4]], [0.0, [3, 3], "small"]]')

    loaded = load(str(path), Overrides())

    assert isinstance(loaded, Replay)
    assert loaded.recorded == (Arrival(0.0, (3, 3), "small"), Arrival(1.0, (4,)))


def test_expected_calls_count_ramps_and_warmup() -> None:
    assert expected_calls(parse(ONE + "warmup_s = 2\nduration_s = 3", "")) == 5
    assert expected_calls(read("ramp")) == pytest.approx(90 * 105 + 50)
    assert expected_calls(read("offline")) == 10_000
    assert expected_calls(Closed(in_flight=1)) is None
    assert expected_calls(
        Replay(recorded=(Arrival(0, (3,)), Arrival(2, (3,))), speed=2, warmup_s=3)
    ) == pytest.approx(2 + 3)


def test_options_are_named_as_people_type_them() -> None:
    assert [option_of(name) for name in ("duration_s", "bound_ms", "in_flight", "rate")] == [
        "--duration",
        "--bound-ms",
        "--in-flight",
        "--rate",
    ]


def test_fixed_lengths_are_read() -> None:
    text = ONE + '[[requests]]\nlengths = { distribution = "fixed", tokens = 8 }'

    assert parse(text, "").requests[0].lengths == Fixed(tokens=8)
