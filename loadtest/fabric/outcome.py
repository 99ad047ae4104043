"""What a run is asked to do and what it brings back, before anything is worked out."""

from dataclasses import dataclass, field
from pathlib import Path

from loadtest.record.calls import Calls
from loadtest.scenario.schema import AnyScenario
from loadtest.sender.order import Security
from loadtest.telemetry.samples import Telemetry


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run."""

    name: str
    """Of the scenario, for people."""
    scenario: AnyScenario
    """Resolved: no paths left in it."""
    target: str
    model: str
    security: Security = field(default_factory=Security)
    workers: int = 1
    """Sending processes on this machine; more than one makes this process Locust's master."""
    expect_workers: int = 0
    """Workers on other machines to wait for instead."""
    bind: str = "127.0.0.1:5557"
    """Where Locust's master listens for them."""
    server_pid: int | None = None
    """Whose CPU and memory to sample; None looks for what listens at a loopback target."""
    metrics_url: str | None = None
    """Prometheus page of a server elsewhere, sampled for CPU, memory and start time."""
    web_port: int | None = None
    wants_realtime: bool = True
    """Senders of an open loop or a replay take real-time priority where the system allows it."""


@dataclass(frozen=True, kw_only=True)
class WorkerShare:
    """One sending process."""

    worker: int
    host: str
    connections: int
    channel_options: dict[str, int]
    payloads: int
    cpu_s: float
    most_in_flight: int
    is_realtime: bool
    clock_error_s: float
    """How far its instant 0 may be from the others'; 0 on one machine."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """One run, raw."""

    plan: Plan
    calls: Calls
    began_s: float
    """Instant 0, seconds since the epoch."""
    measured_from_ns: int
    end_ns: int
    """The measured time, since instant 0; for offline the end is the last answer."""
    disturbances: tuple[str, ...]
    """Whatever makes the numbers not those of the order: stopped early, a worker lost."""
    errors: dict[str, int]
    """Texts of what failed, the first few of each code, with counts."""
    shares: tuple[WorkerShare, ...]
    telemetry: Telemetry
    folder: Path | None = None
