"""What a recording of arrivals would have met under other options, without running anything.

Replays it through the batcher's own queue and planner, and beside that through what servers without
packing do. The same recording, options and cost give the same figures.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from server.batching import arrivals, plan
from server.batching.arrivals import Arrival
from server.batching.choice import choose
from server.batching.cost import Cost
from server.batching.outcome import FATES, Outcome, outcome
from server.batching.replay import Service, replay
from server.batching.request_queue import QueueLimits
from server.batching.sessions import open_sessions
from server.batching.setup import PADDED_BATCH_ROWS, UNPACKED, open_sequences
from server.config import ServerConfig
from server.errors import ConfigInvalid
from server.repository.bundle import Bundle, open_bundle
from server.repository.contract import require_text
from server.repository.manifest import SessionOptions

HIDDEN_SIZE = 384
MAX_TOKENS = 512
"""Of a small encoder, where no bundle is given."""


@dataclass(frozen=True, slots=True)
class Served:
    """What serves the requests: a bundle's figures, or assumed ones."""

    model: str
    cost: Cost
    cost_from: str
    num_threads: int
    max_batch_tokens: int
    min_row_tokens: int
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that is printed."""

    num_requests: int
    num_sequences: int
    mean_tokens: float
    duration_s: float
    """From the first arrival to the last."""
    served_by: Served
    policies: list[Outcome]


def main(workload: str, bundle: str | None, config: ServerConfig, *, as_json: bool) -> int:
    """Replay a recording and print what came of it. Returns the exit status."""
    report = simulate(arrivals.read(Path(workload)), bundle, config)
    print(json.dumps(asdict(report)) if as_json else describe(report))
    return 0


def simulate(recorded: Sequence[Arrival], bundle_path: str | None, config: ServerConfig) -> Report:
    """Replay the requests of one model under the configuration and two plain policies.

    Raises:
        ConfigInvalid: no requests, those of several models, or a bundle that takes no text.
        BundleCorrupt: the bundle cannot be opened.
    """
    bundle = None if bundle_path is None else open_bundle(Path(bundle_path))
    chosen = _of_one_model(recorded, bundle)
    served_by = _assumed(config) if bundle is None else _of_bundle(bundle, config)
    lengths = [length for one in chosen for length in one.lengths]
    return Report(
        num_requests=len(chosen),
        num_sequences=len(lengths),
        mean_tokens=sum(lengths) / len(lengths),
        duration_s=chosen[-1].arrived_s - chosen[0].arrived_s,
        served_by=served_by,
        policies=[
            outcome(replay(chosen, service), service) for service in _services(served_by, config)
        ],
    )


def describe(report: Report) -> str:
    """Return the figures as a table that a person can read: a line each, a column per policy."""
    by, policies = report.served_by, report.policies
    head = f"""\
recording  {report.num_requests} requests, {report.num_sequences} sequences, \
{report.mean_tokens:.1f} tokens on average, in {report.duration_s:.1f} s
served by  {by.model}, {by.num_threads} threads, {by.max_batch_tokens} tokens a run
cost       {by.cost_from}: a run {by.cost.run_s * 1000:.3g} ms, \
a token {by.cost.token_s * 1e6:.3g} us
"""
    lines = [head, _line("", [one.policy for one in policies])]
    rows: list[tuple[str, Callable[[Outcome], str]]] = [
        *[(fate.replace("_", " "), lambda one, fate=fate: str(one.fates[fate])) for fate in FATES],
        ("runs", lambda one: str(one.num_runs)),
        ("sequences a run", lambda one: f"{one.sequences_per_run:.1f}"),
        ("padding", lambda one: f"{one.padding_share:.1%}"),
        ("overhead", lambda one: f"{one.overhead_share:.1%}"),
        ("utilisation", lambda one: f"{one.utilisation:.1%}"),
        ("delay p50", lambda one: _ms(one.delays.p50_s)),
        ("delay p90", lambda one: _ms(one.delays.p90_s)),
        ("delay p99", lambda one: _ms(one.delays.p99_s)),
        ("delay max", lambda one: _ms(one.delays.max_s)),
        ("Jain index", lambda one: f"{one.jain_index:.3f}"),
    ]
    lines += [_line(name, [show(one) for one in policies]) for name, show in rows]
    for groups in zip(*([*one.by_length, *one.by_priority] for one in policies), strict=True):
        for name, figure in (("mean", "mean_s"), ("p99", "p99_s")):
            values = [_ms(getattr(group.delays, figure)) for group in groups]
            lines.append(_line(f"{groups[0].name}, {name}", values))
    return "\n".join(lines)


def _line(name: str, values: Sequence[str]) -> str:
    return f"{name:<26}" + "".join(f"{value:>14}" for value in values)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def _of_one_model(recorded: Sequence[Arrival], bundle: Bundle | None) -> list[Arrival]:
    models = sorted({one.model for one in recorded})
    if not models:
        raise ConfigInvalid("the recording has no requests; record some first")
    if len(models) == 1:
        return [*recorded]  # perhaps of another model: how would this one have done?
    if bundle is None or bundle.manifest.name not in models:
        raise ConfigInvalid(
            f"the recording is of {', '.join(models)}; name the bundle of one with --bundle"
        )
    return [one for one in recorded if one.model == bundle.manifest.name]


def _assumed(config: ServerConfig) -> Served:
    options = SessionOptions()
    return Served(
        model="an encoder of 384 hidden units",
        cost=Cost.assumed(HIDDEN_SIZE),
        cost_from="assumed",
        num_threads=config.threads,
        max_batch_tokens=config.max_batch_tokens or options.max_batch_tokens,
        min_row_tokens=options.min_row_tokens,
        max_tokens=MAX_TOKENS,
    )


def _of_bundle(bundle: Bundle, config: ServerConfig) -> Served:
    manifest = bundle.manifest
    if manifest.mask != "segment_ids":
        raise ConfigInvalid(
            f"{bundle.path}: simulate replays text; task {manifest.task} takes whole rows"
        )
    _, limits = require_text(manifest)
    choice = choose(bundle, config)
    cost, cost_from = choice.cost, "tuned"
    if cost is None:
        opened = open_sessions(bundle, config)
        cost, cost_from = open_sequences(opened, manifest, config).cost, "measured now"
        opened.close()
    session_options = manifest.sessions[config.provider]
    return Served(
        model=f"{manifest.name} version {manifest.version}",
        cost=cost,
        cost_from=cost_from,
        num_threads=choice.num_threads,
        max_batch_tokens=choice.max_batch_tokens or session_options.max_batch_tokens,
        min_row_tokens=session_options.min_row_tokens,
        max_tokens=limits.max_tokens,
    )


def _services(by: Served, config: ServerConfig) -> list[Service]:
    """Return the policy that is configured, and what it is compared with."""
    limits = QueueLimits(config.max_queue_requests, config.max_queue_tokens)
    rows = config.max_batch_rows or PADDED_BATCH_ROWS
    width = rows * by.max_tokens
    unpacked = {name: (make(rows), width) for name, make in UNPACKED.items()}
    packed = plan.packed(by.cost, by.min_row_tokens), by.max_batch_tokens
    planner, budget = unpacked.get(config.batching, packed)
    configured = Service(
        config.batching,
        planner,
        budget,
        by.cost,
        limits,
        by.num_threads,
        max_delay_s=config.max_batch_delay_ms / 1000,
        num_levels=config.priority_levels,
        ageing_s=config.ageing_s,
        predict=config.predict,
    )
    plain = [
        ("padded FIFO", *unpacked["padded"]),
        ("sorted, padded", *unpacked["sorted"]),
        ("batch 1", plan.padded(1), 1),
    ]
    return [
        configured,
        *(
            Service(name, planner, budget, by.cost, limits, by.num_threads, by_arrival=True)
            for name, planner, budget in plain
        ),
    ]
