"""Find the fastest settings for a bundle on this hardware, and keep them for later starts.

Works a seeded backlog off in process, as the server would. Each setting meets the best one so far
in alternating passes, so that what else the machine does hits both; the winner goes on.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import monotonic

from server.batching import backlog
from server.batching.batcher import BatchOptions
from server.batching.choice import GPU_THREADS, Choice, tuning_key
from server.batching.packing import TokenSequence
from server.batching.sessions import Opened, open_sessions
from server.batching.setup import open_sequences, sequence_options
from server.config import ServerConfig, default_threads
from server.errors import ConfigInvalid
from server.repository import tuning
from server.repository.bundle import Bundle, open_bundle
from server.repository.contract import require_text
from server.repository.tuning import MeasuredCost, Tuned

ROUNDS = 3
"""Passes of each side of a duel; the median counts."""
MIN_GAIN = 0.02
"""Gain below which the setting that was there before stays."""
WARM_UP_TEXTS, MIN_TEXTS, MAX_TEXTS = 8, 48, 4096
"""Texts of one pass. With fewer than some runs for each thread, chance decides."""
TOKEN_FACTORS = (0.5, 2.0, 4.0)
"""Budgets to try, as multiples of the bundle's."""
MIN_BATCH_TOKENS = 64
SINGLE_RUNS = 25


@dataclass(frozen=True, slots=True)
class Trial:
    """One setting and what it reached."""

    num_threads: int
    intra_op_threads: int
    spin: bool
    max_batch_tokens: int
    texts_per_s: float
    single_ms: float
    """One text by itself."""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that is printed."""

    model: str
    version: int
    hardware: str
    trials: list[Trial]
    num_untried: int
    """Settings that the time did not suffice for."""
    fastest: Trial
    fastest_alone: Trial
    seconds: float
    path: str | None
    """The file that was written."""


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a duel, ready to run."""

    opened: Opened
    options: BatchOptions[TokenSequence]
    single_ms: float

    def trial(self, texts_per_s: float) -> Trial:
        """Return the row of the report."""
        choice = self.opened.choice
        return Trial(
            choice.num_threads,
            choice.intra_op_threads,
            choice.spin,
            self.options.budget,
            texts_per_s,
            self.single_ms,
        )


def main(bundle_path: str, config: ServerConfig, *, seconds: float, as_json: bool) -> int:
    """Measure, print the result and write it to `config.tuning`. Returns the exit status."""
    bundle = open_bundle(Path(bundle_path))
    if bundle.manifest.mask != "segment_ids" or config.batching != "packed":
        raise ConfigInvalid(
            f"{bundle.path}: tune measures packed text; task {bundle.manifest.task} with "
            f"--batching {config.batching} has nothing to choose"
        )
    report = tune(bundle, config, seconds)
    print(json.dumps(asdict(report)) if as_json else describe(report))
    return 0


def tune(bundle: Bundle, config: ServerConfig, seconds: float) -> Report:
    """Try settings for about so many seconds, write the best down, and say what was found."""
    started = monotonic()
    tuner = _Tuner(bundle, config, started + seconds)
    try:
        tuner.run()
    finally:
        tuner.best.opened.close()
    best = tuner.best.trial(tuner.texts_per_s)
    elapsed_s = monotonic() - started
    path = None
    if config.tuning:
        path = str(tuning.write(config.tuning, _tuned(bundle, config, tuner, elapsed_s)))
    return Report(
        model=bundle.manifest.name,
        version=bundle.manifest.version,
        hardware=tuning_key(bundle.digest, config.provider).hardware,
        trials=tuner.trials,
        num_untried=tuner.num_untried,
        fastest=best,
        fastest_alone=min(tuner.trials, key=lambda trial: trial.single_ms),
        seconds=elapsed_s,
        path=path,
    )


def describe(report: Report) -> str:
    """Return the report as lines that a person can read."""
    lines = [
        f"bundle     {report.model} version {report.version}",
        f"hardware   {report.hardware}",
        _row("threads", "cores a run", "spin", "tokens a run", "texts/s", "one text, ms"),
    ]
    for trial in report.trials:
        marks = [
            mark
            for mark, chosen in (
                ("fastest", report.fastest),
                ("fastest alone", report.fastest_alone),
            )
            if _setting(trial) == _setting(chosen)
        ]
        figures = _row(
            str(trial.num_threads),
            str(trial.intra_op_threads),
            "yes" if trial.spin else "no",
            str(trial.max_batch_tokens),
            f"{trial.texts_per_s:.1f}",
            f"{trial.single_ms:.2f}",
        )
        lines.append(f"{figures}  {', '.join(marks)}".rstrip())
    if report.num_untried:
        lines.append(f"{report.num_untried} more were not tried; allow more --seconds")
    lines.append(f"wrote      {report.path or 'nothing: --tuning is empty'}")
    return "\n".join(lines)


def _row(*cells: str) -> str:
    return "".join(f"{cell:>14}" for cell in cells)


def _setting(trial: Trial) -> tuple[int, int, bool, int]:
    return (trial.num_threads, trial.intra_op_threads, trial.spin, trial.max_batch_tokens)


class _Tuner:
    """A series of duels. At most the sessions of two settings are open at a time."""

    def __init__(self, bundle: Bundle, config: ServerConfig, until: float) -> None:
        self._bundle = bundle
        self._config = config
        self._until = until
        self._text, limits = require_text(bundle.manifest)
        self._sequences = backlog.sequences(
            backlog.seeded(limits, MAX_TEXTS), self._text.position_offset
        )
        self.trials: list[Trial] = []
        self.num_untried = 0
        self.texts_per_s = 0.0
        self.best = self._open(next(_thread_choices(config)))

    def run(self) -> None:
        """Let every setting meet the best one, threads first, while there is time."""
        self.texts_per_s = self._pass(self.best, WARM_UP_TEXTS)  # warms up, and sizes the rest
        choices = list(_thread_choices(self._config))[1:]
        budgets = _budgets(self._bundle, self._config)
        left = len(choices) + len(budgets)
        self._measure_first(left + 1)
        for choice in choices:
            if self._has_time(left):
                challenger = self._open(choice)
                loser = self._duel(challenger, left)
                loser.opened.close()
            left -= 1
        for budget in budgets:
            if self._has_time(left):
                self._duel(self._with_budget(budget), left)
            left -= 1

    def _has_time(self, left: int) -> bool:
        duel_s = 2 * ROUNDS * MIN_TEXTS / self.texts_per_s
        if self._left_s() > duel_s:
            return True
        self.num_untried = max(self.num_untried, left)
        return False

    def _left_s(self) -> float:
        return max(0.0, self._until - monotonic())

    def _open(self, choice: Choice) -> Side:
        opened = open_sessions(self._bundle, self._config, choice)
        options = open_sequences(opened, self._bundle.manifest, self._config)
        single_ms = backlog.unloaded_ms(opened.sessions[0], options, self._text, SINGLE_RUNS)
        return Side(opened, options, single_ms)

    def _with_budget(self, budget: int) -> Side:
        best = self.best
        choice = replace(best.opened.choice, max_batch_tokens=budget, cost=best.options.cost)
        options = sequence_options(self._bundle.manifest, self._config, choice)
        return Side(Opened(best.opened.sessions, choice), options, best.single_ms)

    def _measure_first(self, left: int) -> None:
        # A slow model has no time for more than some texts.
        most = max(WARM_UP_TEXTS, int(self.texts_per_s * self._left_s() / ROUNDS))
        num_texts = min(self._num_texts(left), most)
        self.texts_per_s = median(self._pass(self.best, num_texts) for _ in range(ROUNDS))
        self.trials.append(self.best.trial(self.texts_per_s))

    def _duel(self, challenger: Side, left: int) -> Side:
        """Run both sides in turns, keep the faster one, and return the other."""
        num_texts = self._num_texts(left)
        rates: list[tuple[float, float]] = [
            (self._pass(self.best, num_texts), self._pass(challenger, num_texts))
            for _ in range(ROUNDS)
        ]
        gain = median(new / old for old, new in rates)
        # Only the gain is measured in the same minute, so it is what the table's figures rest on.
        texts_per_s = self.texts_per_s * gain
        self.trials.append(challenger.trial(texts_per_s))
        if gain < 1 + MIN_GAIN:
            return challenger
        loser, self.best, self.texts_per_s = self.best, challenger, texts_per_s
        return loser

    def _num_texts(self, left: int) -> int:
        """Return the texts of one pass, so that all that is left to try gets the same time."""
        pass_s = self._left_s() / left / (2 * ROUNDS)
        return min(MAX_TEXTS, max(MIN_TEXTS, int(self.texts_per_s * pass_s)))

    def _pass(self, side: Side, num_texts: int) -> float:
        """Return the texts per second of one pass."""
        planned = backlog.runs(self._sequences[:num_texts], side.options)
        return num_texts / backlog.work_off(side.opened, side.options, planned)


def _thread_choices(config: ServerConfig) -> Iterator[Choice]:
    """Yield threads, cores of each run and spinning: what is safe first."""
    tokens = config.max_batch_tokens
    if config.provider != "cpu":
        yield Choice(GPU_THREADS, max_batch_tokens=tokens)
        return
    cores = default_threads()
    fixed = config.intra_op_threads
    widths = [fixed] if fixed else _halvings(cores)
    for width in widths:
        yield Choice(max(1, cores // width), width, max_batch_tokens=tokens)
        if width > 1:
            yield Choice(max(1, cores // width), width, spin=True, max_batch_tokens=tokens)
        elif cores > 1:
            # Where memory is the bottleneck, fewer runs at a time are as many a second.
            yield Choice(cores // 2, max_batch_tokens=tokens)


def _halvings(cores: int) -> list[int]:
    """Return 1, 2, 4 and so on up to all the cores."""
    widths = [1]
    while widths[-1] * 2 < cores:
        widths.append(widths[-1] * 2)
    return [*widths, cores] if cores > 1 else widths


def _budgets(bundle: Bundle, config: ServerConfig) -> list[int]:
    """Return tokens a run to try beside the first; none where they were given."""
    if config.max_batch_tokens:
        return []
    first = bundle.manifest.sessions[config.provider].max_batch_tokens
    tried = {max(MIN_BATCH_TOKENS, int(first * factor)) for factor in TOKEN_FACTORS}
    return sorted(tried - {first})


def _tuned(bundle: Bundle, config: ServerConfig, tuner: _Tuner, elapsed_s: float) -> Tuned:
    key = tuning_key(bundle.digest, config.provider)
    best = tuner.best.trial(tuner.texts_per_s)
    return Tuned(
        schema_version=1,
        digest=key.digest,
        hardware=key.hardware,
        onnxruntime=key.onnxruntime,
        num_threads=best.num_threads,
        intra_op_threads=best.intra_op_threads,
        spin=best.spin,
        max_batch_tokens=best.max_batch_tokens,
        cost=MeasuredCost(**asdict(tuner.best.options.cost)),
        texts_per_s=best.texts_per_s,
        single_ms=best.single_ms,
        tuned_at=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(elapsed_s),
    )
