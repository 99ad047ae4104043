"""Models are loaded, replaced and unloaded while the server serves."""

import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from bundles import build_encoder, build_rows
from grpc_health.v1 import health_pb2, health_pb2_grpc
from loopback import Target, serve
from waiting import until

from protos import inference_pb2 as oip
from protos import inference_pb2_grpc as oip_grpc
from protos.heed.v1 import text_pb2 as pb
from server.registry import NOT_SELECTED

SLOW = "slow " * 25
EXPLICIT = ("--model-control", "explicit", "--threads", "1")
POLL = ("--model-control", "poll", "--poll-s", "0.1", "--no-probe", "--threads", "1")
Stub = oip_grpc.GRPCInferenceServiceStub


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "models"
    build_encoder(root)
    return root


@contextmanager
def controlled(root: Path, *options: str) -> Iterator[tuple[Target, Stub]]:
    with serve(root, *EXPLICIT, *options) as target, target.inference() as stub:
        yield target, stub


@pytest.fixture(scope="module")
def steady(repository: Path) -> Iterator[tuple[Target, Stub]]:
    """A server that no test changes."""
    with controlled(repository) as running:
        yield running


def load(stub: Stub, name: str = "tiny", **config: object) -> None:
    request = oip.RepositoryModelLoadRequest(model_name=name)
    if config:
        request.parameters["config"].string_param = json.dumps(config)
    stub.RepositoryModelLoad(request)


def unload(stub: Stub, name: str = "tiny") -> None:
    stub.RepositoryModelUnload(oip.RepositoryModelUnloadRequest(model_name=name))


def index(stub: Stub) -> dict[str, str]:
    """Return "STATE reason" by name/version."""
    models = stub.RepositoryIndex(oip.RepositoryIndexRequest()).models
    return {f"{one.name}/{one.version}": f"{one.state} {one.reason}".strip() for one in models}


def embed(target: Target, text: str = "word1", version: str = "") -> str:
    """Return the version that answered, or the status when none did."""
    with target.text() as stub:
        try:
            request = pb.EmbedRequest(model="tiny", version=version, texts=[text])
            return str(stub.Embed(request).version)
        except grpc.RpcError as error:
            return str(error.code().name)


def code(call: Callable[[], object]) -> tuple[str, str]:
    """Return status and message of a call that fails."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code().name, str(caught.value.details())


def health(target: Target, service: str = "tiny") -> str:
    with target.channel() as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service))
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def test_load_replaces_the_version_that_serves(root: Path) -> None:
    with controlled(root) as (target, stub):
        build_encoder(root, version=2)
        load(stub)

        assert embed(target) == "2"
        assert index(stub) == {"tiny/1": f"UNAVAILABLE {NOT_SELECTED}", "tiny/2": "READY"}
        assert target.metric('heed_model_ready{model="tiny",version="2"}') == 1
        assert 'version="1"' not in target.get("/metrics")[1]


def test_model_that_was_not_there_at_the_start_is_loaded(root: Path) -> None:
    with controlled(root) as (target, stub):
        build_rows(root, "pixels")
        load(stub, "pixels")

        assert index(stub)["pixels/1"] == "READY"
        assert health(target, "pixels") == "SERVING"


def test_server_may_begin_with_an_empty_repository(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    with controlled(tmp_path / "models") as (target, stub):
        assert target.get("/readyz")[0] == 200
        build_encoder(tmp_path / "models")
        load(stub)

        assert embed(target) == "1"


def test_unload_and_load_again(root: Path) -> None:
    with controlled(root, "--no-probe") as (target, stub):
        unload(stub)
        assert (embed(target), embed(target, version="1")) == ("NOT_FOUND", "UNAVAILABLE")
        assert index(stub) == {"tiny/1": "UNAVAILABLE unloaded"}
        assert (health(target), target.get("/readyz")[0]) == ("NOT_SERVING", 200)
        assert 'model="tiny"' not in target.get("/metrics")[1]

        load(stub)
        assert embed(target) == "1"
        assert health(target) == "SERVING"
        assert target.metric('heed_batch_sequences_count{model="tiny"') == 1


def test_unloading_what_does_not_serve_is_fine(root: Path) -> None:
    with controlled(root) as (_, stub):
        unload(stub, "nobody")
        unload(stub)
        unload(stub)

        assert index(stub) == {"tiny/1": "UNAVAILABLE unloaded"}


def test_unload_waits_for_the_calls_inside(root: Path) -> None:
    with controlled(root) as (target, stub), target.text() as text:
        inside = text.Embed.future(pb.EmbedRequest(model="tiny", texts=[SLOW]))
        until(lambda: target.metric("heed_inflight_requests") == 1)
        request = oip.RepositoryModelUnloadRequest(model_name="tiny")
        unloading = stub.RepositoryModelUnload.future(request)
        until(lambda: index(stub) == {"tiny/1": "UNLOADING calls are finishing"})

        assert (embed(target, version="1"), inside.done()) == ("UNAVAILABLE", False)
        unloading.result()
        assert inside.result().version == "1"


def test_load_that_its_caller_gives_up_is_finished(root: Path) -> None:
    with controlled(root) as (target, stub):
        build_encoder(root, version=2)
        loading = stub.RepositoryModelLoad.future(oip.RepositoryModelLoadRequest(model_name="tiny"))
        until(lambda: index(stub).get("tiny/2") == "LOADING being loaded")
        loading.cancel()

        until(lambda: embed(target) == "2")


def test_load_of_what_has_not_changed_keeps_it(root: Path) -> None:
    with controlled(root) as (target, stub):
        load(stub)
        assert target.log.read_text().count("a model is ready") == 1

        load(stub, dynamic_batching={"max_queue_delay_microseconds": 100})
        assert target.log.read_text().count("a model is ready") == 2
        assert embed(target) == "1"


def test_load_may_choose_the_versions(root: Path) -> None:
    build_encoder(root, version=2)
    with controlled(root, "--no-probe") as (target, stub):
        load(stub, version_policy={"specific": {"versions": [1]}})
        assert embed(target) == "1"

        load(stub, version_policy={"all": {}})
        assert embed(target) == "2"
        assert embed(target, version="1") == "1"


@pytest.mark.parametrize("name", ["nobody", "..", "../models/tiny", "tiny/1", ""])
def test_load_of_what_is_not_there_changes_nothing(steady: tuple[Target, Stub], name: str) -> None:
    target, stub = steady
    status, message = code(lambda: load(stub, name))

    assert (status, "not in the repository" in message) == ("INTERNAL", True)
    assert (embed(target), target.get("/readyz")[0]) == ("1", 200)


def test_load_of_a_missing_version_names_it(steady: tuple[Target, Stub]) -> None:
    target, stub = steady
    _, message = code(lambda: load(stub, version_policy={"specific": {"versions": [1, 7]}}))

    assert "no version 7" in message
    assert embed(target) == "1"


@pytest.mark.parametrize("mode", ["none", "poll"])
def test_calls_change_nothing_unless_the_server_allows_it(root: Path, mode: str) -> None:
    with serve(root, "--model-control", mode) as target, target.inference() as stub:
        for call in (load, unload):
            status, message = code(lambda call=call: call(stub))  # type: ignore[misc]
            assert (status, "--model-control explicit" in message) == ("UNAVAILABLE", True)
        assert embed(target) == "1"


def test_changes_of_one_name_follow_each_other_and_block_no_other(root: Path) -> None:
    build_rows(root, "pixels")
    with controlled(root, "--no-probe") as (target, stub), ThreadPoolExecutor(8) as callers:
        changes = [
            callers.submit(unload if number % 2 else load, stub, "pixels") for number in range(8)
        ]
        answers = {embed(target) for _ in range(20)}
        for change in changes:
            change.result()
        load(stub, "pixels")

        assert answers == {"1"}
        assert index(stub)["pixels/1"] == "READY"


def test_loading_again_and_again_keeps_no_thread_and_no_file(root: Path) -> None:
    with controlled(root, "--no-probe") as (target, stub):
        server = psutil.Process(target.process.pid)

        def cycle() -> None:
            unload(stub)
            load(stub)
            assert embed(target) == "1"

        # The loop's own pool of threads fills up with the first changes.
        for _ in range(8):
            cycle()
        threads, files = server.num_threads(), server.num_fds()
        for _ in range(10):
            cycle()

        # A caller's closed connection leaves the server a moment later, so one may be counted now
        # and none before; what a load keeps would be counted ten times, and stays.
        until(lambda: server.num_threads() <= threads and server.num_fds() <= files)


def test_poll_loads_what_is_new_and_unloads_what_is_gone(root: Path) -> None:
    with serve(root, *POLL) as target, target.inference() as stub:
        build_encoder(root, version=2)
        until(lambda: embed(target) == "2")
        build_rows(root, "pixels")
        until(lambda: index(stub).get("pixels/1") == "READY")

        shutil.rmtree(root / "tiny" / "2")
        until(lambda: embed(target) == "1")
        shutil.rmtree(root / "tiny")
        until(lambda: list(index(stub)) == ["pixels/1"])
        assert (embed(target), target.get("/readyz")[0]) == ("NOT_FOUND", 200)


def test_poll_waits_for_a_version_that_is_not_there_yet(root: Path) -> None:
    with serve(root, *POLL, "--versions", "tiny=2") as target:
        assert embed(target) == "UNAVAILABLE"

        build_encoder(root, version=2)
        until(lambda: embed(target) == "2")


def test_poll_keeps_what_serves_while_a_new_version_is_broken(root: Path) -> None:
    with serve(root, *POLL) as target, target.inference() as stub:
        broken = build_encoder(root, version=2)
        model = (broken / "model.onnx").read_bytes()
        (broken / "model.onnx").write_bytes(model[:-10])
        until(lambda: "bytes" in index(stub).get("tiny/2", ""))
        assert (embed(target), target.get("/readyz")[0]) == ("1", 200)

        (broken / "model.onnx").write_bytes(model)
        until(lambda: embed(target) == "2")


def test_poll_follows_a_version_that_is_replaced_in_its_place(root: Path) -> None:
    with serve(root, *POLL) as target:
        digest = target.get("/metrics")[1].partition("heed_model_info{")[2].partition("}")[0]
        manifest = root / "tiny" / "1" / "bundle.json"
        manifest.write_text(manifest.read_text() + "\n")

        until(lambda: "heed_model_info{" in target.get("/metrics")[1])
        until(lambda: digest not in target.get("/metrics")[1])
        assert embed(target) == "1"


def test_poll_keeps_everything_while_the_repository_is_away(root: Path) -> None:
    with serve(root, *POLL) as target:
        away = root.rename(root.parent / "away")
        until(lambda: "the repository cannot be read" in target.log.read_text())
        assert embed(target) == "1"

        away.rename(root)
        build_encoder(root, version=2)
        until(lambda: embed(target) == "2")
