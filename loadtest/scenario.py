"""What a load run does, as a checked value read from TOML.

Knows the schema and where the packaged scenarios lie; starts nothing. An unknown field, or a
field that belongs to the other kind of loop, is an error that names it.
"""

from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

import msgspec
from msgspec import Meta

Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]
# Percentiles that a run can stand for; above it the sample counts leave the reach of one process.
Percentile = Annotated[float, Meta(ge=50, le=99.99)]


class BadScenario(ValueError):
    """The scenario does not exist, does not fit the schema, or was given a foreign option."""


class Lengths(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="distribution"):
    """Tokens per text, the model's special tokens included."""


class LogNormal(Lengths, tag="lognormal", frozen=True, forbid_unknown_fields=True):
    """Many short texts, few long ones; `sigma` is the spread of the logarithm."""

    mean: Positive = 34.0
    sigma: Positive = 0.8
    max: Count = 231


class Fixed(Lengths, tag="fixed", frozen=True, forbid_unknown_fields=True):
    """Every text alike."""

    tokens: Count


class Uniform(Lengths, tag="uniform", frozen=True, forbid_unknown_fields=True):
    """Every length from min to max equally often."""

    min: Count
    max: Count

    def __post_init__(self) -> None:
        if self.min > self.max:
            raise ValueError(f"lengths.min {self.min} is above lengths.max {self.max}")


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What both kinds of loop share."""

    description: str = ""
    rpc: Literal["embed"] = "embed"
    duration_s: Positive = 30.0
    # Calls scheduled in the first so many seconds are recorded and left out of every number.
    warmup_s: NotNegative = 5.0
    seed: Annotated[int, Meta(ge=0)] = 1
    texts_per_call: Count = 1
    lengths: LogNormal | Fixed | Uniform = LogNormal()
    deadline_s: Positive = 10.0
    # The highest percentile that the run must have the samples for.
    percentile: Percentile = 99.0
    max_error_rate: Annotated[float, Meta(ge=0, le=1)] = 0.0


class Closed(
    Scenario, tag_field="kind", tag="closed", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """A fixed number of users, each sending its next call when the last one is answered."""

    users: Annotated[int, Meta(ge=1, le=8192)]

    @property
    def loop(self) -> str:
        """What it is called in a sentence."""
        return "a closed loop"

    @property
    def most_in_flight(self) -> int:
        """Calls that may be in flight at the same time."""
        return self.users


class Open(
    Scenario, tag_field="kind", tag="open", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """Arrivals at instants fixed before the run, whatever the server does."""

    # Calls per second.
    rate: Positive
    arrivals: Literal["poisson", "constant"] = "poisson"
    channels: Annotated[int, Meta(ge=1, le=1024)] = 8
    # A safety stop, not a limit to work at: reaching it ends the run and makes it INVALID. Each
    # call in flight holds a native thread.
    max_in_flight: Annotated[int, Meta(ge=1, le=8192)] = 1024

    @property
    def loop(self) -> str:
        """What it is called in a sentence."""
        return "an open loop"

    @property
    def most_in_flight(self) -> int:
        """Calls that may be in flight at the same time."""
        return self.max_in_flight


class Overrides(msgspec.Struct, frozen=True, kw_only=True):
    """Values from the command line; None leaves the scenario's own."""

    rate: float | None = None
    users: int | None = None
    duration_s: float | None = None
    warmup_s: float | None = None
    seed: int | None = None
    texts_per_call: int | None = None

    def given(self) -> dict[str, float]:
        """Return only what was passed."""
        values: dict[str, float | None] = msgspec.structs.asdict(self)
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def none(cls) -> Self:
        """Return overrides that change nothing."""
        return cls()


def packaged() -> list[str]:
    """Return the names of the scenarios that come with the package."""
    folder = resources.files("loadtest") / "scenarios"
    names = [entry.name for entry in folder.iterdir() if entry.name.endswith(".toml")]
    return sorted(name.removesuffix(".toml") for name in names)


def load(name: str, overrides: Overrides) -> Closed | Open:
    """Return a packaged scenario, or one from a path ending in .toml, with the overrides on top."""
    return _override(name, parse(_text(name), name), overrides)


def parse(text: str, name: str) -> Closed | Open:
    """Return the scenario that TOML text describes."""
    try:
        return msgspec.toml.decode(text, type=Closed | Open)
    except msgspec.DecodeError as error:
        raise BadScenario(f"scenario {name}: {error}") from error


def _text(name: str) -> str:
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise BadScenario(f"no scenario file at {name}")
        return path.read_text(encoding="utf-8")
    known = packaged()
    if name not in known:
        raise BadScenario(
            f"no scenario called {name}; known are {', '.join(known)}, or give a path to a .toml"
        )
    return (resources.files("loadtest") / "scenarios" / f"{name}.toml").read_text(encoding="utf-8")


def _override(name: str, scenario: Closed | Open, overrides: Overrides) -> Closed | Open:
    given = overrides.given()
    foreign = [field for field in given if field not in scenario.__struct_fields__]
    if foreign:
        advice = "pass --users" if isinstance(scenario, Closed) else "pass --rate"
        raise BadScenario(
            f"scenario {name} runs {scenario.loop} and has no {foreign[0]}; {advice} instead"
        )
    # Through the schema once more, so that an override obeys the same bounds as the file.
    merged = {**msgspec.to_builtins(scenario), **given}
    try:
        return msgspec.convert(merged, type=Closed | Open)
    except msgspec.ValidationError as error:
        raise BadScenario(f"scenario {name} with the given options: {error}") from error
