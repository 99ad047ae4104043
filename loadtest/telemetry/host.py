"""How busy and how fast the generator's machine is, and whether it was held back."""

from dataclasses import dataclass
from pathlib import Path

import psutil

from loadtest.telemetry.samples import HostSample

# Some systems interrupt every core to learn its frequency.
_FREQUENCY_EVERY_S = 2.0
# Time that a hypervisor gave to others: below this share it is how such machines are.
_STEAL_SHARE = 0.01
_CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Throttled:
    """How often and for how long a CPU quota stopped this container."""

    times: int
    seconds: float


@dataclass(frozen=True)
class _Times:
    """Core-seconds of the machine so far."""

    total: float
    idle: float
    stolen: float


class Host:
    """Looks at the machine. The first look is compared with the moment of construction."""

    def __init__(self) -> None:
        self._cores = psutil.cpu_count() or 1
        self._last = self._first = _times()
        self._throttled = throttled()
        self._frequency_at_s = float("-inf")
        self._has_frequency = True

    def look(self, at_s: float) -> HostSample | None:
        """Return what it does now, None where the system's counters have not moved."""
        now = _times()
        total = now.total - self._last.total
        idle = now.idle - self._last.idle
        stolen = now.stolen - self._last.stolen
        if total <= 0:
            return None
        self._last = now
        busy = max(0.0, total - idle - stolen) / total * self._cores
        return HostSample(at_s=at_s, busy_cores=busy, mhz=self._mhz(at_s))

    def notes(self) -> list[str]:
        """Return what kept the generator's machine from working, over all looks."""
        notes = []
        if not self._has_frequency:
            notes.append("the CPU frequency was not sampled: this system does not say it")
        total = self._last.total - self._first.total
        stolen = self._last.stolen - self._first.stolen
        if total > 0 and stolen > _STEAL_SHARE * total:
            notes.append(
                f"the hypervisor gave {stolen / total:.1%} of this machine's CPU time to others"
            )
        now = throttled()
        if now and self._throttled and now.times > self._throttled.times:
            notes.append(
                f"this container's CPU quota stopped it {now.times - self._throttled.times} times, "
                f"{now.seconds - self._throttled.seconds:.2f} s in all"
            )
        return notes

    def _mhz(self, at_s: float) -> float | None:
        if at_s < self._frequency_at_s + _FREQUENCY_EVERY_S:
            return None
        self._frequency_at_s = at_s
        try:
            found = psutil.cpu_freq()
        except (OSError, RuntimeError, NotImplementedError):
            found = None
        self._has_frequency = found is not None and found.current > 0
        return float(found.current) if found and found.current > 0 else None


def throttled(root: Path = _CGROUPS, own: Path = Path("/proc/self/cgroup")) -> Throttled | None:
    """Return what the quota of this process's control group did, None where there is none."""
    for folder in _folders(root, own):
        try:
            text = (folder / "cpu.stat").read_text()
        except OSError:
            continue
        found = dict(line.split() for line in text.splitlines() if len(line.split()) == 2)  # noqa: PLR2004
        if "nr_throttled" in found:
            # Version 2 counts us, version 1 ns.
            seconds = float(found.get("throttled_usec", 0)) / 1e6
            seconds += float(found.get("throttled_time", 0)) / 1e9
            return Throttled(int(found["nr_throttled"]), seconds)
    return None


def _folders(root: Path, own: Path) -> list[Path]:
    """Return where the group may lie: its own path first, then as a container sees it."""
    try:
        lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return []
    folders = []
    for _, controllers, path in lines:
        if controllers and "cpu" not in controllers.split(","):
            continue
        tree = root / "cpu" if controllers else root
        folders += [tree / path.lstrip("/"), tree]
    return folders


def _times() -> _Times:
    now = psutil.cpu_times()
    stolen = getattr(now, "steal", 0.0)
    # A guest's time is part of the user's already.
    counted = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "interrupt")
    total = sum(getattr(now, name, 0.0) for name in counted)
    return _Times(total, now.idle + getattr(now, "iowait", 0.0), stolen)
