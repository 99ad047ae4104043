"""Where the time of a call went, as trailing metadata of its answer."""

from time import monotonic

from server.request import Request

KEY = "server-timing"
"""The name and form that HTTP gives to this (W3C Server Timing); durations are milliseconds."""


def server_timing(call: Request, unit: str = "tokens") -> str:
    """Return the stages of an answered call; `unit` is what the sizes of its batches count."""
    timings = call.timings
    tokenize = f"tokenize;dur={timings.tokenize_s * 1e3:.3f}, " if timings.tokenize_s else ""
    return (
        f"{tokenize}queue;dur={timings.queue_s * 1e3:.3f}, run;dur={timings.run_s * 1e3:.3f}, "
        f"total;dur={(monotonic() - call.started) * 1e3:.3f}, "
        f'batch;desc="sequences={timings.batch_sequences} {unit}={timings.batch_tokens}"'
    )
