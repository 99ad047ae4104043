"""Which requests are traced, and what settings are taken."""

import pytest

from server.errors import InvalidRequest, ServeError, Unsupported
from server.rpc.tracing import DEFAULTS, Sampler, Tracing


def chosen(sampler: Sampler, number: int) -> list[int]:
    return [index for index in range(number) if sampler.chooses()]


def test_every_so_many_requests_are_chosen_until_the_count_ends() -> None:
    sampler = Sampler(is_on=True, rate=3, num_left=2)

    assert chosen(sampler, 12) == [2, 5]
    assert sampler.num_left == 0


def test_a_count_below_zero_has_no_end() -> None:
    assert chosen(Sampler(is_on=True, rate=1, num_left=-1), 5) == [0, 1, 2, 3, 4]


def test_nothing_is_chosen_when_it_is_off() -> None:
    assert chosen(Sampler(is_on=False, rate=1, num_left=-1), 5) == []


def test_a_model_takes_what_is_global_until_it_has_its_own() -> None:
    tracing = Tracing()
    tracing.update("", {"trace_rate": ["5"]})
    tracing.update("one", {"trace_level": ["TIMESTAMPS"]})

    assert tracing.settings("one") == DEFAULTS | {"trace_rate": "5", "trace_level": "TIMESTAMPS"}
    assert tracing.settings("two") == DEFAULTS | {"trace_rate": "5"}


def test_no_values_go_back_to_the_default() -> None:
    tracing = Tracing()
    tracing.update("", {"trace_rate": ["5"], "trace_count": ["7"]})
    tracing.update("one", {"trace_rate": ["9"]})

    tracing.update("one", {"trace_rate": []})
    tracing.update("", {"trace_count": []})

    assert tracing.settings("one")["trace_rate"] == "5"
    assert tracing.settings()["trace_count"] == "-1"


def test_a_setting_may_be_set_to_what_it_is() -> None:
    tracing = Tracing()

    tracing.update("", {name: [value] for name, value in DEFAULTS.items()})

    assert tracing.settings() == DEFAULTS


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("trace_color", ["red"], InvalidRequest),
        ("trace_level", ["MAX"], InvalidRequest),
        ("trace_level", ["OFF", "TIMESTAMPS"], InvalidRequest),
        ("trace_level", ["TENSORS"], Unsupported),
        ("trace_rate", ["0"], InvalidRequest),
        ("trace_rate", ["many"], InvalidRequest),
        ("trace_count", ["-2"], InvalidRequest),
        ("trace_count", ["9" * 30], InvalidRequest),
        ("trace_file", ["/tmp/trace"], Unsupported),  # noqa: S108  (never written)
        ("trace_mode", ["opentelemetry"], Unsupported),
        ("log_frequency", ["5"], Unsupported),
    ],
)
def test_bad_settings_change_nothing(name: str, values: list[str], kind: type[ServeError]) -> None:
    tracing = Tracing()

    with pytest.raises(kind, match=name):
        tracing.update("", {"trace_level": ["TIMESTAMPS"], name: values})

    assert tracing.settings() == DEFAULTS
