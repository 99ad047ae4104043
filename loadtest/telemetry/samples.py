"""What was sampled while a run went on, as plain values. Samples nothing itself."""

import msgspec


class ProcessSample(msgspec.Struct, frozen=True, array_like=True):
    """One look at a process and its children."""

    at_s: float
    # Since instant 0.
    cpu_s: float
    # User and system so far.
    rss_bytes: int
    voluntary_switches: int | None
    involuntary_switches: int | None
    threads: int | None


class HostSample(msgspec.Struct, frozen=True, array_like=True):
    """One look at the machine of the generator."""

    at_s: float
    # Cores in use since the last look, by anybody.
    busy_cores: float
    # Mean of all cores; None where the system does not say.
    mhz: float | None


class GpuSample(msgspec.Struct, frozen=True, array_like=True):
    """One look at an accelerator, by NVML."""

    at_s: float
    gpu: int
    utilisation: float
    memory_bytes: int
    watts: float | None
    sm_mhz: float | None


class Telemetry(msgspec.Struct, frozen=True, kw_only=True):
    """Everything sampled. A list is empty where there was nothing to look at."""

    generator: tuple[ProcessSample, ...] = ()
    server: tuple[ProcessSample, ...] = ()
    host: tuple[HostSample, ...] = ()
    gpus: tuple[GpuSample, ...] = ()
    # How the server was found: "pid 123", "listening at 127.0.0.1:8001 (pid 123)", its metrics'
    # address; empty when it was not.
    server_source: str = ""
    # The server's process began anew, or went, this often.
    server_restarts: int = 0
    # Why something was not sampled, for people.
    notes: tuple[str, ...] = ()
