"""The in-process ceiling: a bundle run with the server's own session and planner, without gRPC.

Every served figure is quoted as a share of this one, measured in the same minutes. Tokenising is
timed apart; the ceiling holds ONNX Runtime, laying out rows and taking them apart, nothing else.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import numpy as np

from server.batching import backlog
from server.batching.batcher import BatchOptions
from server.batching.packing import TokenSequence
from server.batching.sessions import Opened, open_sessions
from server.batching.setup import open_sequences
from server.config import ServerConfig
from server.errors import ConfigInvalid
from server.repository.bundle import Bundle, open_bundle
from server.repository.contract import require_text
from server.repository.manifest import Limits
from server.text.tokenizer import Tokenizer, Truncation

PASSES = 3
UNLOADED_RUNS = 300


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What one bundle reaches in process."""

    model: str
    version: int
    provider: str
    threads: int
    batching: str
    max_batch_tokens: int
    num_texts: int
    mean_tokens: float
    texts_per_s: float
    texts_per_s_passes: list[float]
    cpu_ms_per_text: float
    padding_share: float
    tokenize_us_per_text: float
    unloaded_p50_ms: float
    """Median of one run of 16 tokens on an idle machine, with a caller's pause between runs."""


def main(path: str, texts: str | None, config: ServerConfig, *, as_json: bool) -> int:
    """Measure the bundle at `path` and print the result. Returns the exit status."""
    ceiling = measure(open_bundle(Path(path)), _read(texts), config)
    if as_json:
        print(json.dumps(asdict(ceiling)))
        return 0
    print(describe(ceiling))
    return 0


def describe(ceiling: Ceiling) -> str:
    """Return the figures as lines that a person can read."""
    passes = ceiling.texts_per_s_passes
    return f"""\
bundle     {ceiling.model} version {ceiling.version}, {ceiling.provider}
batching   {ceiling.batching}, {ceiling.max_batch_tokens} tokens a run, {ceiling.threads} threads
workload   {ceiling.num_texts} texts, {ceiling.mean_tokens:.1f} tokens on average
ceiling    {ceiling.texts_per_s:.1f} texts/s, median of {len(passes)} passes \
({min(passes):.1f} to {max(passes):.1f})
CPU        {ceiling.cpu_ms_per_text:.3f} ms per text
padding    {ceiling.padding_share:.1%} of the tokens run
tokenise   {ceiling.tokenize_us_per_text:.0f} us per text, not in the ceiling
unloaded   {ceiling.unloaded_p50_ms:.2f} ms for one text of {backlog.UNLOADED_TOKENS} tokens"""


def measure(bundle: Bundle, texts: Sequence[str] | None, config: ServerConfig) -> Ceiling:
    """Run the workload several times through the session as it would be served."""
    manifest = bundle.manifest
    if manifest.mask != "segment_ids":
        raise ConfigInvalid(
            f"{bundle.path}: bench measures packed text; task {manifest.task} takes whole rows"
        )
    text, limits = require_text(manifest)
    opened = open_sessions(bundle, config)
    options = open_sequences(opened, manifest, config)
    tokenize_us, ids = _tokenized(bundle, limits, texts) if texts else (0.0, backlog.seeded(limits))
    sequences = backlog.sequences(ids, text.position_offset)
    plans = backlog.runs(sequences, options)
    num_tokens = sum(len(sequence) for sequence in sequences)
    padded_tokens = sum(plan.padded_tokens for _, plan in plans)
    rates, cpu_s = _passes(opened, plans, options, len(sequences))
    return Ceiling(
        model=manifest.name,
        version=manifest.version,
        provider=config.provider,
        threads=opened.choice.num_threads,
        batching=config.batching,
        max_batch_tokens=options.budget,
        num_texts=len(sequences),
        mean_tokens=num_tokens / len(sequences),
        texts_per_s=median(rates),
        texts_per_s_passes=rates,
        cpu_ms_per_text=cpu_s * 1000 / len(sequences),
        padding_share=1 - num_tokens / padded_tokens,
        tokenize_us_per_text=tokenize_us,
        unloaded_p50_ms=backlog.unloaded_ms(opened.sessions[0], options, text, UNLOADED_RUNS),
    )


def _passes(
    opened: Opened,
    plans: Sequence[backlog.Run],
    options: BatchOptions[TokenSequence],
    num_texts: int,
) -> tuple[list[float], float]:
    """Return texts per second of each pass and the median CPU seconds of one, after a warm-up."""
    rates = []
    cpu_s = []
    for number in range(PASSES + 1):
        cpu_started = process_time()
        elapsed_s = backlog.work_off(opened, options, plans)
        if number:
            rates.append(num_texts / elapsed_s)
            cpu_s.append(process_time() - cpu_started)
    return rates, median(cpu_s)


def _tokenized(
    bundle: Bundle, limits: Limits, texts: Sequence[str]
) -> tuple[float, list[np.ndarray[tuple[int], np.dtype[np.int64]]]]:
    tokenizer = Tokenizer(bundle.tokenizer_path, limits.max_tokens)
    started = perf_counter()
    tokenized = [tokenizer.encode_now([text], Truncation.KEEP_START)[0] for text in texts]
    elapsed_s = perf_counter() - started
    tokenizer.close()
    return elapsed_s * 1e6 / len(texts), [np.asarray(one.ids, np.int64) for one in tokenized]


def _read(path: str | None) -> list[str] | None:
    if path is None:
        return None
    try:
        texts = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"--texts {path}: {error}") from error
    if not texts:
        raise ConfigInvalid(f"--texts {path}: the file is empty; write one text a line")
    return texts
