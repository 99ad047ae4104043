"""The load of a search at one level: any scenario's requests at another pace. Pure."""

from typing import Any

import msgspec

from loadtest.scenario.schema import AnyScenario, BadScenario, Closed, Open, Replay, Scenario

DEFAULT_S = 30.0


def check(scenario: AnyScenario) -> None:
    """Refuse what has no single pace to vary.

    Raises:
        BadScenario: it has phases, or is a recording.
    """
    if isinstance(scenario, Replay):
        raise BadScenario("a recording has its own arrivals; search with server, constant or mixed")
    if isinstance(scenario, Open) and scenario.phases:
        raise BadScenario(
            "the scenario has phases with rates of their own; search with one that has a single"
            " rate: server, constant, mixed"
        )


def seconds(scenario: AnyScenario) -> float:
    """Return how long the scenario measures."""
    if isinstance(scenario, Closed):
        return scenario.duration_s
    if isinstance(scenario, Open) and scenario.duration_s is not None:
        return scenario.duration_s
    return DEFAULT_S


def at_rate(scenario: AnyScenario, rate: float, seed: int, duration_s: float) -> Open:
    """Return its requests at so many calls per second, Poisson unless it says otherwise."""
    changed: dict[str, Any] = {"rate": rate, "seed": seed, "duration_s": duration_s}
    if isinstance(scenario, Open):
        return msgspec.structs.replace(scenario, **changed)
    return Open(**_shared(scenario), **changed)


def at_in_flight(scenario: AnyScenario, in_flight: int, seed: int, duration_s: float) -> Closed:
    """Return its requests with so many calls in flight."""
    shared = _shared(scenario) | {"seed": seed, "duration_s": duration_s}
    return Closed(**shared, in_flight=in_flight)


def _shared(scenario: AnyScenario) -> dict[str, Any]:
    """Return what every kind of load has, but the seed."""
    names = Scenario.__struct_fields__
    return {name: getattr(scenario, name) for name in names if name != "seed"}
