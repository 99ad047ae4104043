"""The tables of a report as texts, for the page, for Markdown and for the terminal alike."""

from dataclasses import dataclass
from typing import Final

from loadtest.analysis.figures import Breakdown, Latency, PhaseFigures, ProcessFigures
from loadtest.report import words
from loadtest.report.model import Lateness, Report

_OF_PHASES: Final = ("p50", "p95", "p99")


@dataclass(frozen=True)
class Table:
    """Texts. The first column names its row; the others are figures unless `is_prose`."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    is_prose: bool = False


def latency(report: Report) -> Table:
    """Return every percentile by every clock."""
    clocks = report.latency_us
    columns = {"from schedule": clocks.from_schedule, "from send": clocks.from_send}
    if clocks.first_response is not None:
        columns["first response"] = clocks.first_response
    upper = clocks.from_schedule.upper
    rows = [("mean", *(words.duration(one.mean) for one in columns.values()), "")]
    for name, label in words.LABELS.items():
        ceiling = words.duration(upper[name]) if name in upper else ""
        rows.append((label, *(words.claim(one, name) for one in columns.values()), ceiling))
    rows.append(("max", *(words.duration(one.max) for one in columns.values()), ""))
    return Table(
        "Latency",
        ("", *columns, "99 % ceiling"),
        tuple(rows),
        f"{words.plural(clocks.from_schedule.samples, 'answered call')} in"
        f" {words.seconds(report.measured_s)}. n<459: too few samples to claim it at 99 %"
        " confidence, so many are needed. Ceiling: what the true percentile, from schedule, does"
        " not exceed at that confidence.",
    )


def flow(report: Report) -> Table:
    """Return what was due, what ended, and how punctual the generator was."""
    passed, lag = report.throughput, report.lag_us
    quarters = " · ".join(words.number(mean) for mean in report.in_flight_quarters)
    lateness = zip(("p50", "p99", "max"), late(lag), strict=True)
    return _facts(
        "Flow and generator",
        {
            "offered": f"{words.rate(passed.offered_per_s)} calls/s",
            "completed": f"{words.rate(passed.completed_per_s)} calls/s",
            "answered": f"{words.rate(passed.requests_per_s)} calls/s",
            "texts": f"{words.rate(passed.texts_per_s)}/s",
            "tokens": f"{words.rate(passed.tokens_per_s)}/s",
            "in flight, by quarter": quarters,
            f"lag of {lag.of}": " · ".join(f"{name} {text}" for name, text in lateness),
        },
    )


def late(lag: Lateness) -> tuple[str, str, str]:
    """Return median, 99th percentile and maximum of the generator's lag."""
    return words.tail(lag.p50, 50), words.tail(lag.p99, 99), words.duration(lag.max)


def stages(breakdown: Breakdown) -> Table:
    """Return the time in each stage over all calls with timings."""
    rows = tuple(
        (
            name,
            words.duration(one.mean),
            words.tail(one.p50, 50),
            words.tail(one.p95, 95),
            words.tail(one.p99, 99),
        )
        for name, one in breakdown.stages.items()
    )
    return Table(
        "Stages",
        ("", "mean", "p50", "p95", "p99"),
        rows,
        f"Of {words.plural(breakdown.timed, 'call')} whose answer carried timings. lag: before the"
        " send. network: what the server did not see. tokenize, queue, run: the server's own"
        " account. rest: what it named no stage for.",
    )


def slices(breakdown: Breakdown) -> Table:
    """Return the mean time per stage of the calls about each percentile."""
    rows = tuple(
        (
            f"p{one.percentile:g}",
            words.duration(one.latency),
            words.count(one.calls),
            *(words.duration(value) for value in one.stages.values()),
        )
        for one in breakdown.slices
    )
    return Table("Calls about each percentile", ("", "latency", "calls", *breakdown.stages), rows)


def phases(report: Report) -> Table:
    """Return the stretches of the measured time."""
    head = ("phase", "seconds", "offered/s", "answered/s", "texts/s", "tokens/s")
    return Table(
        "Phases",
        (*head, *_OF_PHASES, "errors", "in flight"),
        tuple(_phase(place, one) for place, one in enumerate(report.phases)),
    )


def _phase(place: int, one: PhaseFigures) -> tuple[str, ...]:
    passed = one.throughput
    return (
        one.name or str(place + 1),
        f"{one.from_s:,.5g} to {one.to_s:,.5g}",
        words.rate(passed.offered_per_s),
        words.rate(passed.requests_per_s),
        words.rate(passed.texts_per_s),
        words.rate(passed.tokens_per_s),
        *_claims(one.latency_us),
        words.count(one.errors),
        words.number(one.in_flight),
    )


def requests(report: Report) -> Table:
    """Return the kinds of calls of the mix."""
    calls = sum(one.calls for one in report.requests)
    rows = tuple(
        (
            one.rpc,
            one.model,
            words.count(one.calls),
            words.share(one.calls, calls),
            words.count(one.texts),
            *_claims(one.latency_us),
            words.duration(one.latency_us.max),
            words.count(one.errors),
        )
        for one in report.requests
    )
    head = ("call", "model", "calls", "share", "texts", *_OF_PHASES, "max", "errors")
    return Table("Requests of the mix", head, rows)


def _claims(latency: Latency) -> tuple[str, ...]:
    return tuple(words.claim(latency, name) for name in _OF_PHASES)


def workers(report: Report) -> Table:
    """Return the sending processes."""
    rows = tuple(
        (
            str(one.worker),
            one.host,
            words.count(one.calls),
            words.rate(one.calls_per_s),
            words.tail(one.lag_p99_us, 99),
            words.number(one.cpu_cores),
            words.duration(one.cpu_us_per_call),
            words.count(one.most_in_flight),
            "real-time" if one.is_realtime else "normal",
            words.duration(one.clock_error_us),
            str(one.connections),
            words.count(one.payloads),
        )
        for one in report.workers
    )
    head = ("worker", "host", "calls", "calls/s", "lag p99", "cores", "CPU/call")
    more = ("most in flight", "priority", "clock error", "connections", "bodies")
    return Table("Workers", (*head, *more), rows)


def answers(report: Report) -> Table:
    """Return how the calls ended."""
    calls = sum(report.codes.values())
    rows = tuple(
        (code, words.count(many), words.share(many, calls)) for code, many in report.codes.items()
    )
    return Table("Answers", ("code", "calls", "share"), rows)


def errors(report: Report) -> Table:
    """Return the texts of what failed."""
    rows = tuple((text, words.count(many)) for text, many in report.errors.items())
    return Table(
        "Errors", ("text", "calls"), rows, "The first few texts of each code, warm-up included."
    )


def processes(report: Report) -> Table:
    """Return what server and generator used in the measured time; without rows when unknown."""
    seen = {"server": report.telemetry.server, "generator": report.telemetry.generator}
    known = {name: _process(one) for name, one in seen.items() if one is not None}
    names = next(iter(known.values()), {})
    rows = tuple((name, *(column[name] for column in known.values())) for name in names)
    source = report.samples.server_source
    notes = [f"server: {source}"] if source else []
    note = " ".join(map(_sentence, (*notes, *report.samples.notes)))
    return Table("Processes", ("", *known), rows, note)


def _process(one: ProcessFigures) -> dict[str, str]:
    memory = (one.rss_first_bytes, one.rss_last_bytes, one.rss_most_bytes)
    first, last, most = map(words.size, memory)
    return {
        "cores": words.number(one.cores),
        "CPU per call": f"{words.number(one.cpu_ms_per_call)} ms",
        "memory, first": first,
        "memory, last": last,
        "memory, most": most,
        "switches, waited": _per_s(one.voluntary_switches_per_s),
        "switches, preempted": _per_s(one.involuntary_switches_per_s),
    }


def _per_s(value: float | None) -> str:
    return words.NOTHING if value is None else f"{words.rate(value)}/s"


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."


def machine(report: Report) -> Table:
    """Return what the generator ran on, and how busy machine and accelerators were."""
    seen, facts = report.telemetry, {**report.machine}
    if seen.host_busy_cores is not None:
        facts["busy"] = f"{words.number(seen.host_busy_cores)} cores"
    if seen.mhz_mean is not None:
        mean, lowest = words.number(seen.mhz_mean, 4), words.number(seen.mhz_lowest, 4)
        facts["clock"] = f"{mean} MHz, lowest {lowest}"
    for gpu, mean_busy in seen.gpu_utilisation_mean.items():
        facts[f"GPU {gpu} busy"] = f"{words.number(mean_busy)} %"
    versions = " · ".join(f"{name} {version}" for name, version in report.versions.items())
    return _facts("Machine and versions", {**facts, "versions": versions})


def _facts(title: str, facts: dict[str, str]) -> Table:
    return Table(title, (), tuple(facts.items()), is_prose=True)
