"""Look at generator, server, machine and GPUs while a run goes on.

Keeps no time: whoever owns the run says when it looks, once or twice a second. One look costs about
a millisecond of CPU, in the process that calls it and never in one that sends.
"""

from collections.abc import Callable

from loadtest.telemetry.gpus import Gpus
from loadtest.telemetry.host import Host
from loadtest.telemetry.processes import Family
from loadtest.telemetry.samples import GpuSample, HostSample, ProcessSample, Telemetry
from loadtest.telemetry.servers import ServerSource, Unknown


class Sampler:
    """The telemetry of one run."""

    def __init__(
        self, generator_pids: Callable[[], list[int]], server: ServerSource | None
    ) -> None:
        """`generator_pids` is asked at every look; children count with their parents."""
        self._family = Family(generator_pids)
        self._server = server or Unknown("there is none to look at")
        self._machine = Host()
        self._gpus = Gpus()
        self._generator_samples: list[ProcessSample] = []
        self._server_samples: list[ProcessSample] = []
        self._host_samples: list[HostSample] = []
        self._gpu_samples: list[GpuSample] = []

    def look(self, at_s: float) -> None:
        """Sample everything once; `at_s` is the time since instant 0."""
        if generator := self._family.look(at_s):
            self._generator_samples.append(generator)
        if server := self._server.look(at_s):
            self._server_samples.append(server)
        if host := self._machine.look(at_s):
            self._host_samples.append(host)
        self._gpu_samples += self._gpus.look(at_s)

    def finish(self) -> Telemetry:
        """Return everything. Nothing may be sampled after it."""
        self._gpus.close()
        notes = [*self._server.notes, *self._machine.notes(), *self._gpus.notes]
        if not self._generator_samples:
            notes.insert(
                0, "the generator was not sampled: it is elsewhere, or the run was too short"
            )
        return Telemetry(
            generator=tuple(self._generator_samples),
            server=tuple(self._server_samples),
            host=tuple(self._host_samples),
            gpus=tuple(self._gpu_samples),
            server_source=self._server.description,
            server_restarts=self._server.restarts,
            notes=tuple(notes),
        )
