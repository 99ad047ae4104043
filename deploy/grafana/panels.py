"""A panel and the PromQL that panels are made of. Knows neither rows nor Grafana's JSON."""
# ruff: noqa: INP001 - scripts beside the file they write, not a package

from dataclasses import dataclass

PROCESS = 'job=~"$job", instance=~"$instance"'
# Calls that do work; health probes and metadata would flatter every share and quantile.
METHODS = "/heed.v1.TextService/.+|/inference.GRPCInferenceService/Model(Stream)?Infer"
WORK = f'{PROCESS}, method=~"{METHODS}"'
MODEL = f'{PROCESS}, model=~"$model", version=~"$version"'
BY_MODEL = "model, version"


@dataclass(frozen=True)
class Panel:
    """One panel: what to ask, how to name the lines, how to read them."""

    title: str
    description: str
    queries: dict[str, str]  # legend -> PromQL
    unit: str
    width: int = 8
    kind: str = "timeseries"
    stack: bool = False
    log: bool = False  # a logarithmic axis
    ceiling: float | None = None  # the axis ends here
    thresholds: tuple[tuple[float | None, str], ...] = ()
    decimals: int | None = None
    columns: tuple[str, ...] = ()  # of a table: labels to show


def quantile(q: float, metric: str, by: str, selector: str) -> str:
    """Return the PromQL of one quantile of a classic histogram."""
    labels = ", ".join(filter(None, (by, "le")))
    rate = f"rate({metric}_bucket{{{selector}}}[$__rate_interval])"
    return f"histogram_quantile({q}, sum by ({labels}) ({rate}))"


def rate(metric: str, selector: str, by: str) -> str:
    """Return the PromQL of a per-second rate, summed by labels."""
    return f"sum by ({by}) (rate({metric}{{{selector}}}[$__rate_interval]))"


def mean(metric: str, by: str) -> str:
    """Return the PromQL of the mean of a model's histogram."""
    return f"{rate(f'{metric}_sum', MODEL, by)} / {rate(f'{metric}_count', MODEL, by)}"


def stages(q: float) -> dict[str, str]:
    """Return one quantile of every stage but the total, which is the sum nobody can add up."""
    selector = f'{MODEL}, stage!="total"'
    return {"{{stage}}": quantile(q, "heed_stage_duration_seconds", "stage", selector)}
