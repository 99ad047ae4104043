"""The dashboard's rows and panels: what is asked, how it is named, how it is read.

Plain data and PromQL; `build.py` turns it into the JSON that Grafana reads.
"""
# ruff: noqa: INP001 - scripts beside the file they write, not a package

from panels import BY_MODEL, MODEL, PROCESS, WORK, Panel, mean, quantile, rate, stages

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
# The objectives of deploy/prometheus/alerts.yml.
GOOD, FAST, BOUND_S = 0.999, 0.99, "0.25"


def objective_row() -> list[Panel]:
    """Return the row that says whether the service keeps its promises."""
    red_to_green = ((None, "red"), (0.0, "orange"), (0.25, "green"))
    return [
        Panel(
            "Calls without a server fault",
            "Share of calls whose code is not the server's fault, over the chosen time range. "
            "Objective: 99.9 %. Invalid requests and cancelled calls count as good.",
            {
                "{{job}}": f"1 - (sum by (job) (increase(heed_requests_total{{{WORK}, "
                'code=~"UNKNOWN|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED|ABORTED|INTERNAL'
                '|UNAVAILABLE|DATA_LOSS"}[$__range])) or 0 * sum by (job) '
                f"(increase(heed_requests_total{{{WORK}}}[$__range]))) / "
                f"sum by (job) (increase(heed_requests_total{{{WORK}}}[$__range]))"
            },
            "percentunit",
            width=4, kind="stat", decimals=3,
            thresholds=((None, "red"), (GOOD, "green")),
        ),
        Panel(
            f"Calls within {BOUND_S} s",
            "Share of calls answered within the latency objective's bound, over the chosen time "
            "range. Objective: 99 %. The bound is a bucket edge, so the share is exact.",
            {
                "{{job}}": f'sum by (job) (increase(heed_request_duration_seconds_bucket{{{WORK}'
                f', le="{BOUND_S}"}}[$__range])) / sum by (job) '
                f"(increase(heed_request_duration_seconds_count{{{WORK}}}[$__range]))"
            },
            "percentunit",
            width=4, kind="stat", decimals=2,
            thresholds=((None, "red"), (FAST, "green")),
        ),
        Panel(
            "Error budget left, 3 days",
            "What is left of the budget if the last three days were the whole period: 100 % is "
            "untouched, 0 % is spent, below is over. Recorded by the alert rules.",
            {
                "faults": f'1 - heed:request_faults:ratio_rate3d{{job=~"$job"}} / {1 - GOOD:.3f}',
                "latency": f'1 - heed:request_slow:ratio_rate3d{{job=~"$job"}} / {1 - FAST:.2f}',
            },
            "percentunit",
            width=4, kind="stat", decimals=0, thresholds=red_to_green,
        ),
        Panel(
            "Burn rate",
            "How many times faster than allowed the budget is being spent. 1 lasts exactly the "
            "period; above 14.4 for an hour, or above 6 for six hours, pages.",
            {
                "faults 5 m": f'heed:request_faults:ratio_rate5m{{job=~"$job"}} / {1 - GOOD:.3f}',
                "faults 1 h": f'heed:request_faults:ratio_rate1h{{job=~"$job"}} / {1 - GOOD:.3f}',
                "latency 5 m": f'heed:request_slow:ratio_rate5m{{job=~"$job"}} / {1 - FAST:.2f}',
                "latency 1 h": f'heed:request_slow:ratio_rate1h{{job=~"$job"}} / {1 - FAST:.2f}',
            },
            "none",
            width=12, thresholds=((None, "transparent"), (6, "orange"), (14.4, "red")),
        ),
    ]  # fmt: skip


def traffic_row() -> list[Panel]:
    """Return the row about calls and how they ended."""
    return [
        Panel(
            "Calls by code",
            "Answers per second by gRPC status code. RESOURCE_EXHAUSTED is shed load, "
            "DEADLINE_EXCEEDED waited too long, UNAVAILABLE is draining or not ready.",
            {"{{code}}": rate("heed_requests_total", PROCESS, "code")},
            "reqps", stack=True,
        ),
        Panel(
            "Calls by method",
            "Answers per second by method, all codes.",
            {"{{method}}": rate("heed_requests_total", PROCESS, "method")},
            "reqps", stack=True,
        ),
        Panel(
            "Calls in flight",
            "Calls that hold an admission permit. A line at its limit with no answers is a stall.",
            {"{{instance}}": f"heed_inflight_requests{{{PROCESS}}}"},
            "none", stack=True,
        ),
    ]  # fmt: skip


def latency_row() -> list[Panel]:
    """Return the row about the time a call takes."""
    metric = "heed_request_duration_seconds"
    return [
        Panel(
            "Latency",
            "From the first byte parsed to the answer built. Bucket steps of 1.5 "
            "keep each quantile within 20 %. Time on the network is not in it.",
            {name: quantile(q, metric, "", WORK) for name, q in QUANTILES.items()},
            "s", log=True,
        ),
        Panel(
            "Latency heat map",
            "Calls per bucket: the darker, the more. Two bands mean two kinds of calls, which "
            "quantiles hide.",
            {"{{le}}": f"sum by (le) (increase({metric}_bucket{{{WORK}}}[$__rate_interval]))"},
            "s", kind="heatmap",
        ),
        Panel(
            "p99 by instance",
            "One line far above the others is one bad machine or one overloaded replica.",
            {"{{instance}}": quantile(0.99, metric, "instance", WORK)}, "s", log=True,
        ),
    ]  # fmt: skip


def stage_row() -> list[Panel]:
    """Return the row about where the time goes."""
    return [
        Panel(
            "Stages, p50",
            "Median time per stage, stacked. Quantiles do not add up exactly: read the "
            "proportions. The largest layer owns the typical call.",
            stages(0.5), "s", stack=True,
        ),
        Panel(
            "Stages, p99",
            "The largest layer owns the tail: queue means load, run means long texts or a busy "
            "machine, tokenize means worker threads are short.",
            stages(0.99), "s", stack=True,
        ),
        Panel(
            "Time left at the run",
            "Time to the deadline when a sequence enters a run; the lower 1 % and 10 %. Near zero "
            "is the last warning before DEADLINE_EXCEEDED.",
            {
                name: quantile(q, "heed_deadline_remaining_seconds", BY_MODEL, MODEL)
                for name, q in (
                    ("p1 {{model}}:{{version}}", 0.01),
                    ("p10 {{model}}:{{version}}", 0.1),
                )
            },
            "s",
        ),
    ]  # fmt: skip


def queue_row() -> list[Panel]:
    """Return the row about waiting and refusing."""
    legend = "{{instance}} {{model}}:{{version}}"
    return [
        Panel(
            "Requests waiting",
            "Requests waiting for a session. Short peaks are batching at work; a plateau is load "
            "above capacity.",
            {legend: f"heed_queue_requests{{{MODEL}}}"}, "none", width=6,
        ),
        Panel(
            "Tokens waiting",
            "The same in tokens, the unit of cost: the signal to scale on.",
            {legend: f"heed_queue_tokens{{{MODEL}}}"}, "none", width=6,
        ),
        Panel(
            "Oldest request waiting",
            "Age of the oldest waiting request. Above the latency bound, everything behind it is "
            "late too; the alert fires after two minutes of that.",
            {legend: f"heed_queue_oldest_age_seconds{{{MODEL}}}"}, "s", width=6,
        ),
        Panel(
            "Refused or given up, by cause",
            "queue_full and inflight_full are shed load, predicted_late would have expired in the "
            "queue, expired did; validation, cancelled and key are the caller's, draining is a "
            "roll-out.",
            {"{{reason}}": rate("heed_rejected_total", PROCESS, "reason")},
            "reqps", width=6, stack=True,
        ),
    ]  # fmt: skip


def batch_row() -> list[Panel]:
    """Return the row about how well requests share runs."""
    who = " {{model}}:{{version}}"
    padding, tokens = (
        rate(metric, MODEL, BY_MODEL)
        for metric in ("heed_padding_tokens_total", "heed_tokens_total")
    )
    return [
        Panel(
            "Sequences per run",
            "1 means nothing was batched: either load is low or requests are long.",
            {
                f"mean{who}": mean("heed_batch_sequences", BY_MODEL),
                f"p95{who}": quantile(0.95, "heed_batch_sequences", BY_MODEL, MODEL),
            },
            "none", width=6,
        ),
        Panel(
            "Tokens per run",
            "Tokens without padding. A p95 at the token budget means the budget limits batches.",
            {
                f"mean{who}": mean("heed_batch_tokens", BY_MODEL),
                f"p95{who}": quantile(0.95, "heed_batch_tokens", BY_MODEL, MODEL),
            },
            "none", width=6,
        ),
        Panel(
            "Padding share",
            "Part of the computed tokens that is padding: wasted work. Mixed lengths in one run "
            "raise it, packing lowers it.",
            {f"padding{who}": f"{padding} / ({padding} + {tokens})"},
            "percentunit", width=6, ceiling=1,
        ),
        Panel(
            "Tokens per text received",
            "The shape of the traffic. When latency grew and this did too, callers send longer "
            "texts.",
            {
                f"p50{who}": quantile(0.5, "heed_request_tokens", BY_MODEL, MODEL),
                f"p99{who}": quantile(0.99, "heed_request_tokens", BY_MODEL, MODEL),
            },
            "none", width=6,
        ),
        Panel(
            "Run time against prediction",
            "1 is what the cost model measured at load said. Above, the machine is slower than it "
            "was then: other programs, a lower clock. Deadlines are judged by the corrected cost.",
            {
                f"p50{who}": quantile(0.5, "heed_run_prediction_ratio", BY_MODEL, MODEL),
                f"p95{who}": quantile(0.95, "heed_run_prediction_ratio", BY_MODEL, MODEL),
            },
            "none", width=12,
        ),
        Panel(
            "Answered from the cache",
            "Share of sequences that needed no run of their own, kept or computed for another "
            "call at that moment. Empty without --cache-bytes.",
            {
                f"hits{who}": (
                    f"{rate('heed_cache_hits_total', MODEL, BY_MODEL)} / "
                    f"({rate('heed_cache_hits_total', MODEL, BY_MODEL)} + "
                    f"{rate('heed_cache_misses_total', MODEL, BY_MODEL)})"
                )
            },
            "percentunit", width=12, ceiling=1,
        ),
    ]  # fmt: skip


def utilisation_row() -> list[Panel]:
    """Return the row about what the process uses."""
    by = "instance, model, version, provider"
    threads = f"sum by ({by}) (heed_session_threads{{{MODEL}}})"
    lag = "heed_event_loop_lag_seconds"
    return [
        Panel(
            "Sessions busy",
            "Share of dispatch-thread time inside ONNX Runtime. Near 100 % with a growing queue "
            "is the capacity limit; low with a growing queue is a fault.",
            {
                "{{instance}} {{model}}:{{version}} {{provider}}": (
                    f"{rate('heed_session_busy_seconds_total', MODEL, by)} / {threads}"
                )
            },
            "percentunit", ceiling=1,
        ),
        Panel(
            "Tokens per second",
            "Throughput in the unit of cost, padding left out.",
            {"{{model}}:{{version}}": rate("heed_tokens_total", MODEL, BY_MODEL)},
            "none",
        ),
        Panel(
            "CPU",
            "Cores used by the process. Compare with the limit of its container.",
            {"{{instance}}": f"rate(process_cpu_seconds_total{{{PROCESS}}}[$__rate_interval])"},
            "none",
        ),
        Panel(
            "Memory",
            "Resident memory. It rises while models load and warm up, then stays level; a slope "
            "over hours is a leak.",
            {"{{instance}}": f"process_resident_memory_bytes{{{PROCESS}}}"},
            "bytes", width=6,
        ),
        Panel(
            "File descriptors used",
            "Share of the limit, mostly connections. Steady growth is a client that opens a "
            "channel per call.",
            {
                "{{instance}}": f"process_open_fds{{{PROCESS}}} / "
                f"process_max_fds{{{PROCESS}}}"
            },
            "percentunit", width=6,
        ),
        Panel(
            "Event loop lag",
            "How late timers run. Every call pays it: above 50 ms something blocks the loop or "
            "the process is short of CPU.",
            {
                "p50 {{instance}}": quantile(0.5, lag, "instance", PROCESS),
                "p99 {{instance}}": quantile(0.99, lag, "instance", PROCESS),
            },
            "s", width=6,
        ),
        Panel(
            "Garbage collections",
            "Runs of Python's collector per second. Generation 2 stops the process longest; it "
            "should be rare.",
            {
                "{{instance}} generation {{generation}}": (
                    f"rate(python_gc_collections_total{{{PROCESS}}}[$__rate_interval])"
                )
            },
            "ops", width=6,
        ),
    ]  # fmt: skip


def rollout_row() -> list[Panel]:
    """Return the row to watch while a version or a build is replaced."""
    return [
        Panel(
            "Instances ready and draining",
            "1 is yes. During a roll-out an instance goes from ready to draining to gone, and "
            "enough others stay ready.",
            {
                "ready {{instance}}": f"heed_ready{{{PROCESS}}}",
                "draining {{instance}}": f"heed_draining{{{PROCESS}}}",
            },
            "bool", kind="state-timeline",
        ),
        Panel(
            "Model versions ready",
            "1 is taking traffic. The new version has to be at 1 before the old one leaves.",
            {"{{instance}} {{model}}:{{version}}": f"heed_model_ready{{{MODEL}}}"},
            "bool", kind="state-timeline",
        ),
        Panel(
            "Time to load",
            "Time to verify, load and warm up each version: what a restart costs.",
            {"{{instance}} {{model}}:{{version}}": f"heed_model_load_seconds{{{MODEL}}}"},
            "s", kind="stat", thresholds=((None, "blue"),),
        ),
        Panel(
            "Models loaded",
            "What each instance really serves. One version with two digests is two different "
            "models under one name.",
            {"": f"heed_model_info{{{MODEL}}}"},
            "none", width=14, kind="table",
            columns=("instance", "model", "version", "task", "provider", "precision", "digest"),
        ),
        Panel(
            "Builds",
            "Versions of heed and ONNX Runtime per instance.",
            {"": f"heed_build_info{{{PROCESS}}}"},
            "none", width=10, kind="table", columns=("instance", "version", "onnxruntime"),
        ),
    ]  # fmt: skip


ROWS = {
    "Objectives": objective_row,
    "Traffic": traffic_row,
    "Latency": latency_row,
    "Where the time goes": stage_row,
    "Queue": queue_row,
    "Batching": batch_row,
    "Utilisation": utilisation_row,
    "Roll-out": rollout_row,
}
