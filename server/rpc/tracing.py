"""Which requests have their timings logged, globally or per model, changed while serving.

Lives on the event loop. A trace is one line of the log, with the id, the model and the timings of a
request; never with texts or tensors.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic

from server.errors import InvalidRequest, Unsupported
from server.repository.manifest import Manifest
from server.request import Request

NAME = "server.trace"
log = logging.getLogger(NAME)

DEFAULTS = {
    "trace_level": "OFF",
    "trace_rate": "1000",
    "trace_count": "-1",
    "log_frequency": "0",
    "trace_file": "",
    "trace_mode": "triton",
}
FIXED = {
    "log_frequency": "each trace is logged at once",
    "trace_file": "traces go to the server's log",
    "trace_mode": "traces go to the server's log",
}
"""Settings of the protocol that cannot be changed, and why."""
MAX_COUNT = 2**63 - 1


@dataclass(slots=True)
class Sampler:
    """Chooses every so many requests, so many times."""

    is_on: bool
    rate: int
    num_left: int
    """-1 is no end."""
    num_seen: int = 0

    def chooses(self) -> bool:
        """Count one request and return whether it is traced."""
        if not self.is_on or not self.num_left:
            return False
        self.num_seen += 1
        if self.num_seen % self.rate:
            return False
        self.num_left -= self.num_left > 0
        return True


class Tracing:
    """The settings of all models, and of single ones that differ."""

    def __init__(self) -> None:
        # A trace was asked for, so it is logged whatever the severity that is logged otherwise.
        log.setLevel(logging.INFO)
        self._changed: dict[str, dict[str, str]] = {"": {}}
        self._samplers = {"": _sampler(DEFAULTS)}

    def settings(self, model: str = "") -> dict[str, str]:
        """Return what is in force for a model, or with an empty name for all others."""
        values = DEFAULTS | self._changed[""] | self._changed.get(model, {})
        values["trace_count"] = str(self._sampler(model).num_left)
        return values

    def update(self, model: str, changes: Mapping[str, Sequence[str]]) -> None:
        """Change settings; one without values goes back to its default. Counting starts again.

        Raises:
            InvalidRequest: an unknown setting or value. Nothing is changed.
            Unsupported: a setting that cannot be changed.
        """
        if not changes:
            return
        values = dict(self._changed.get(model, {}))
        for name, given in changes.items():
            value = _checked(name, given)
            if value is None:
                values.pop(name, None)
            else:
                values[name] = value
        self._changed[model] = values
        if model and not values:
            del self._changed[model]
        self._samplers = {
            name: _sampler(DEFAULTS | self._changed[""] | own)
            for name, own in self._changed.items()
        }

    def record(self, call: Request, manifest: Manifest) -> None:
        """Log the timings of an answered request if it is one to trace."""
        if not self._sampler(manifest.name).chooses():
            return
        timings = call.timings
        log.info(
            "a request was traced",
            extra={
                "model": manifest.name,
                "version": manifest.version,
                "queue_s": round(timings.queue_s, 6),
                "run_s": round(timings.run_s, 6),
                "total_s": round(monotonic() - call.started, 6),
                "batch_sequences": timings.batch_sequences,
                "batch_tokens": timings.batch_tokens,
            },
        )

    def _sampler(self, model: str) -> Sampler:
        return self._samplers.get(model) or self._samplers[""]


def _sampler(values: Mapping[str, str]) -> Sampler:
    return Sampler(
        values["trace_level"] == "TIMESTAMPS", int(values["trace_rate"]), int(values["trace_count"])
    )


def _checked(name: str, given: Sequence[str]) -> str | None:
    if name not in DEFAULTS:
        raise InvalidRequest(f"trace setting '{name}' is unknown; use {', '.join(DEFAULTS)}")
    if not given:
        return None
    if len(given) > 1:
        raise InvalidRequest(f"trace setting '{name}' has {len(given)} values; send one")
    value = given[0]
    if name in FIXED:
        if value == DEFAULTS[name]:
            return None
        raise Unsupported(f"trace setting '{name}' cannot be changed: {FIXED[name]}")
    if name == "trace_level":
        if value == "TENSORS":
            raise Unsupported("trace_level TENSORS is not served: tensors are never logged")
        if value not in {"OFF", "TIMESTAMPS"}:
            raise InvalidRequest(f"trace_level is '{value}'; use OFF or TIMESTAMPS")
        return value
    lowest = 1 if name == "trace_rate" else -1
    digits = value.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and lowest <= int(value) <= MAX_COUNT):
        raise InvalidRequest(f"{name} is '{value}'; it must be a whole number from {lowest} on")
    return str(int(value))
