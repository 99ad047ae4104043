"""How several workers share what one server has, and how their metrics become one exposition."""

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from server.config import ServerConfig
from server.exposition import merge
from server.shares import shares


@pytest.mark.parametrize(
    ("num_cores", "num", "sizes"), [(2, 2, [1, 1]), (8, 2, [4, 4]), (7, 3, [2, 2, 3])]
)
def test_every_core_belongs_to_one_worker(num_cores: int, num: int, sizes: list[int]) -> None:
    config = ServerConfig(workers=num, threads=num_cores)

    shared = shares(config, list(range(num_cores)))

    assert [len(cores) for _, cores in shared] == sizes
    assert [own.threads for own, _ in shared] == sizes
    assert [core for _, cores in shared for core in cores] == list(range(num_cores))


def test_worker_gets_its_part_and_no_workers_of_its_own() -> None:
    config = ServerConfig(workers=4, threads=8, ops_port=9, device_memory_bytes=400, port=7)

    own, _ = shares(config, list(range(8)))[0]

    assert (own.workers, own.threads, own.device_memory_bytes) == (1, 2, 100)
    assert (own.port, own.ops_host, own.ops_port, own.reuse_port) == (7, "127.0.0.1", 0, True)


def exposition(calls: int) -> str:
    registry = CollectorRegistry()
    Counter("calls", "Calls.", ("code",), registry=registry).labels("OK").inc(calls)
    Histogram("size", "Sizes.", buckets=(1, 2), registry=registry).observe(calls)
    return generate_latest(registry).decode()


def test_merged_exposition_has_each_family_once_and_each_sample_by_worker() -> None:
    class Merged(Collector):
        def collect(self) -> list[Metric]:
            return merge({"0": exposition(1), "1": exposition(2)})

    registry = CollectorRegistry()
    registry.register(Merged())
    text = generate_latest(registry).decode()

    assert text.count("# TYPE calls_total counter") == 1
    assert 'calls_total{code="OK",worker="0"} 1.0' in text
    assert 'calls_total{code="OK",worker="1"} 2.0' in text
    assert text.count("# TYPE size histogram") == 1
    assert 'size_bucket{le="1.0",worker="1"} 0.0' in text
