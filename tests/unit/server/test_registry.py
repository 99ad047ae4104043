"""Which version answers, what a switch replaces, and who holds a model."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from bundles import build_encoder

from server.config import ServerConfig
from server.errors import InvalidRequest, ModelNotFound, ModelNotReady
from server.metrics import Metrics
from server.registry import NOT_SELECTED, UNLOADED, Registry, State
from server.repository.bundle import open_bundle
from server.repository.index import Found
from server.tasks.model import LoadedModel, load

CONFIG = ServerConfig(threads=1, pin=False, tuning="")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, LoadedModel]]:
    root = tmp_path_factory.mktemp("models")
    loaded = {
        version: load(open_bundle(build_encoder(root, version=version)), CONFIG, Metrics())
        for version in (1, 2, 10)
    }
    yield loaded
    for model in loaded.values():
        model.close()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def registry(metrics: Metrics) -> Registry:
    found = [Found("tiny", version, Path(f"tiny/{version}")) for version in (1, 2, 10)]
    return Registry(found, [], metrics)


def test_empty_version_is_the_highest_that_serves(
    registry: Registry, models: dict[int, LoadedModel]
) -> None:
    registry.serve("tiny", [models[2], models[1]])

    assert registry.get("tiny") is models[2]
    assert registry.get("tiny", "1") is models[1]
    assert registry.get("tiny", "01") is models[1]
    assert registry.ready_versions("tiny") == ["1", "2"]


def test_version_that_does_not_serve_says_why(
    registry: Registry, models: dict[int, LoadedModel]
) -> None:
    registry.serve("tiny", [models[2]])

    with pytest.raises(ModelNotReady, match="not selected"):
        registry.get("tiny", "1")
    with pytest.raises(ModelNotFound, match="'tiny' version 3"):
        registry.get("tiny", "3")
    with pytest.raises(ModelNotFound, match="'other'"):
        registry.get("other")
    with pytest.raises(InvalidRequest, match="whole number"):
        registry.get("tiny", "one")


def test_switch_returns_what_it_replaced(
    registry: Registry, models: dict[int, LoadedModel]
) -> None:
    registry.serve("tiny", [models[1], models[2]])

    assert registry.serve("tiny", [models[2], models[10]]) == [models[1]]
    assert registry.get("tiny") is models[10]
    states = {entry.version: entry.state for entry in registry.entries()}
    assert states == {1: State.UNLOADING, 2: State.READY, 10: State.READY}


def test_same_version_can_be_replaced(registry: Registry, models: dict[int, LoadedModel]) -> None:
    again = replace(models[1])
    registry.serve("tiny", [models[1]])

    (replaced,) = registry.serve("tiny", [again])

    assert replaced is models[1]
    assert registry.get("tiny") is again
    assert registry.is_ready


def test_unloaded_name_is_not_found_without_a_version(
    registry: Registry, models: dict[int, LoadedModel]
) -> None:
    registry.serve("tiny", [models[1]])
    registry.serve("tiny", [])
    registry.retire("tiny", UNLOADED)

    with pytest.raises(ModelNotFound, match="is unloaded"):
        registry.get("tiny")
    with pytest.raises(ModelNotReady, match="unloaded"):
        registry.get("tiny", "1")


def test_failed_load_leaves_what_serves_and_the_servers_readiness(
    registry: Registry, models: dict[int, LoadedModel]
) -> None:
    registry.serve("tiny", [models[1]])
    for version in (1, 2):
        registry.begin("tiny", version)
        registry.fail("tiny", version, "broken")

    assert registry.is_ready
    assert registry.get("tiny") is models[1]
    with pytest.raises(ModelNotReady, match="broken"):
        registry.get("tiny", "2")


def test_server_is_ready_once_every_selected_version_is(
    metrics: Metrics, models: dict[int, LoadedModel]
) -> None:
    found = [Found("tiny", version, Path(f"tiny/{version}")) for version in (1, 2)]
    registry = Registry(found, found, metrics)
    registry.add(models[1])
    assert not registry.is_ready

    registry.add(models[2])
    assert registry.is_ready


def test_vanished_versions_are_forgotten_unless_they_serve(
    registry: Registry, models: dict[int, LoadedModel]
) -> None:
    registry.serve("tiny", [models[1]])
    registry.discover("tiny", [11])

    assert [entry.version for entry in registry.entries()] == [1, 11]


def test_metrics_of_a_retired_version_are_gone(
    registry: Registry, metrics: Metrics, models: dict[int, LoadedModel]
) -> None:
    registry.serve("tiny", [models[1], models[2]])
    registry.serve("tiny", [models[2]])
    registry.retire("tiny", NOT_SELECTED)

    versions = {
        sample.labels["version"]
        for family in metrics.registry.collect()
        for sample in family.samples
        if "model" in sample.labels
    }
    assert versions == {"2"}


async def test_call_holds_its_model_until_it_ends(
    registry: Registry, models: dict[int, LoadedModel]
) -> None:
    model = replace(models[1])
    registry.serve("tiny", [model])
    end = asyncio.Event()

    async def call() -> None:
        registry.get("tiny")
        registry.get("tiny")
        await end.wait()

    calls = [asyncio.create_task(call()) for _ in range(3)]
    await asyncio.sleep(0)
    assert len(model.users) == 3
    assert not await model.users.gone(0.001)
    calls[0].cancel()
    end.set()
    assert await model.users.gone()


async def test_closed_model_is_freed_without_a_garbage_collection(tmp_path: Path) -> None:
    bundle = open_bundle(build_encoder(tmp_path))
    metrics = Metrics()
    registry = Registry([Found("tiny", 1, bundle.path)], [], metrics)
    model = load(bundle, CONFIG, metrics)
    registry.add(model)
    assert model.text is not None
    parts = [weakref.ref(part) for part in (model.pool, model.batcher, model.text.tokenizer)]
    gc.collect()
    gc.disable()
    try:
        (closing,) = registry.serve("tiny", [])
        registry.retire("tiny", UNLOADED)
        closing.close()
        del model, closing
        assert [part() for part in parts] == [None, None, None]
    finally:
        gc.enable()
