"""How a bundle runs: options win over what was tuned, that over what is safe."""

from dataclasses import asdict, replace

from server.batching.choice import GPU_THREADS, Choice, resolve
from server.batching.cost import Cost
from server.config import ServerConfig, default_threads
from server.repository.tuning import MeasuredCost, Tuned

CORES = default_threads()
COST = Cost(0.004, 0.0, 0.0001, 1e-7, 0.0)
WIDE = Tuned(
    schema_version=1,
    digest="0" * 64,
    hardware="a machine",
    onnxruntime="1.31.1",
    num_threads=1,
    intra_op_threads=2,
    spin=True,
    max_batch_tokens=512,
    cost=MeasuredCost(**asdict(COST)),
    texts_per_s=190.0,
    single_ms=4.5,
    tuned_at="2026-01-01T00:00:00+00:00",
    seconds=60,
)


def test_nothing_tuned_is_one_core_a_run_without_spinning() -> None:
    assert resolve(ServerConfig(), None) == Choice(CORES, 1)


def test_tuned_values_fill_what_was_not_asked_for() -> None:
    assert resolve(ServerConfig(), WIDE) == Choice(1, 2, spin=True, max_batch_tokens=512, cost=COST)


def test_options_win_over_tuned_values() -> None:
    config = ServerConfig(max_batch_tokens=64, intra_op_threads=1)

    assert resolve(config, WIDE) == Choice(CORES, max_batch_tokens=64)


def test_threads_that_were_asked_for_are_not_retuned() -> None:
    config = ServerConfig(threads=CORES + 4)

    assert resolve(config, WIDE) == Choice(CORES + 4, max_batch_tokens=512)


def test_cores_of_a_run_divide_the_threads() -> None:
    config = ServerConfig(threads=7, intra_op_threads=3)

    assert resolve(config, None) == Choice(2, 3)
    assert resolve(config, None).num_sessions == 2
    assert resolve(replace(config, intra_op_threads=9), None).num_threads == 1


def test_gpu_takes_limits_and_cost_but_no_threads() -> None:
    assert resolve(ServerConfig(provider="cuda"), WIDE) == Choice(
        GPU_THREADS, max_batch_tokens=512, cost=COST
    )
