"""Models loaded, changed and unloaded by call: codes, states and settings."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensors
from bundles import build_encoder
from google.protobuf.json_format import MessageToJson
from loopback import Target, serve

from protos import inference_pb2 as pb
from protos.inference_pb2_grpc import GRPCInferenceServiceStub as Stub

IDS = np.array([[2, 5, 3]], np.int64)
ARRAYS = {"input_ids": IDS, "segment_ids": np.ones_like(IDS), "position_ids": np.arange(3)[None]}
EXTENSIONS = {"model_repository", "model_repository(unload_dependents)"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("control") / "models"
    build_encoder(root)
    build_encoder(root, version=2)
    return root


@pytest.fixture(scope="module")
def controlled(models: Path) -> Iterator[Stub]:
    with (
        serve(models, "--model-control", "explicit") as running,
        running.inference() as opened,
    ):
        yield opened


@pytest.fixture
def stub(controlled: Stub) -> Iterator[Stub]:
    """A server of which each test leaves version 2 serving, as the server was started."""
    yield controlled
    load(controlled)


def load(stub: Stub, name: str = "tiny", config: str | None = None) -> None:
    parameter = pb.ModelRepositoryParameter
    parameters = {} if config is None else {"config": parameter(string_param=config)}
    stub.RepositoryModelLoad(
        pb.RepositoryModelLoadRequest(model_name=name, parameters=parameters), timeout=60
    )


def unload(stub: Stub, name: str = "tiny") -> None:
    stub.RepositoryModelUnload(
        pb.RepositoryModelUnloadRequest(
            model_name=name,
            parameters={"unload_dependents": pb.ModelRepositoryParameter(bool_param=False)},
        ),
        timeout=60,
    )


def infer(stub: Stub, version: str = "") -> str:
    request = tensors.request("tiny", ARRAYS)
    request.model_version = version
    answer: pb.ModelInferResponse = stub.ModelInfer(request, timeout=30)
    return answer.model_version


def config(stub: Stub) -> pb.ModelConfig:
    answer: pb.ModelConfigResponse = stub.ModelConfig(
        pb.ModelConfigRequest(name="tiny"), timeout=30
    )
    return answer.config


def code(call: Callable[[], object]) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    assert isinstance(caught.value, grpc.Call)
    return caught.value.code().name


def states(stub: Stub, *, ready: bool = False) -> list[tuple[str, str, str]]:
    index = stub.RepositoryIndex(pb.RepositoryIndexRequest(ready=ready), timeout=30)
    return [(one.name, one.version, one.state) for one in index.models]


def test_unloaded_model_is_gone_until_it_is_loaded_again(stub: Stub) -> None:
    assert infer(stub) == "2"

    unload(stub)

    assert states(stub, ready=True) == []
    assert {state for _, _, state in states(stub)} == {"UNAVAILABLE"}
    assert code(lambda: infer(stub)) == "NOT_FOUND"
    assert code(lambda: infer(stub, "2")) == "UNAVAILABLE"
    assert code(lambda: config(stub)) == "NOT_FOUND"
    metadata = pb.ModelMetadataRequest(name="tiny", version="2")
    assert code(lambda: stub.ModelMetadata(metadata)) == "NOT_FOUND"
    counters = pb.ModelStatisticsRequest(name="tiny")
    assert code(lambda: stub.ModelStatistics(counters)) == "INVALID_ARGUMENT"
    assert not stub.ModelReady(pb.ModelReadyRequest(name="tiny")).ready
    assert stub.ServerReady(pb.ServerReadyRequest()).ready
    load(stub)
    assert infer(stub) == "2"


def test_unload_of_what_is_not_there_is_no_error(stub: Stub) -> None:
    unload(stub)
    unload(stub)
    unload(stub, "nobody")


def test_load_takes_settings_for_one_model(stub: Stub) -> None:
    wanted = {
        "max_batch_size": 4,
        "instance_group": [{"count": 1}],
        "dynamic_batching": {
            "max_queue_delay_microseconds": 1500,
            "default_queue_policy": {"max_queue_size": 9},
        },
        "version_policy": {"specific": {"versions": [1]}},
    }

    load(stub, config=json.dumps(wanted))

    found = config(stub)
    assert (found.max_batch_size, found.instance_group[0].count) == (4, 1)
    assert found.dynamic_batching.max_queue_delay_microseconds == 1500
    assert found.dynamic_batching.default_queue_policy.max_queue_size == 9
    assert states(stub, ready=True) == [("tiny", "1", "READY")]
    assert infer(stub) == "1"


def test_config_that_the_server_gave_can_be_sent_back(stub: Stub) -> None:
    before = config(stub)

    load(stub, config=MessageToJson(before))

    assert config(stub) == before


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("nobody", None, "INTERNAL"),
        ("tiny", "not json", "INTERNAL"),
        ("tiny", '{"optimization": {}}', "INVALID_ARGUMENT"),
        ("tiny", '{"max_batch_size": 0}', "INVALID_ARGUMENT"),
    ],
)
def test_load_that_cannot_be_changes_nothing(
    stub: Stub, name: str, text: str | None, expected: str
) -> None:
    assert code(lambda: load(stub, name, text)) == expected
    assert infer(stub) == "2"
    assert stub.ServerReady(pb.ServerReadyRequest()).ready


def test_files_and_other_repositories_are_not_served(stub: Stub) -> None:
    files = {"file:1/model.onnx": pb.ModelRepositoryParameter(bytes_param=b"")}
    for request in (
        pb.RepositoryModelLoadRequest(model_name="tiny", parameters=files),
        pb.RepositoryModelLoadRequest(model_name="tiny", repository_name="other"),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            stub.RepositoryModelLoad(request)
        assert isinstance(caught.value, grpc.Call)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_broken_bundle_is_refused_and_named_in_the_index(stub: Stub, models: Path) -> None:
    (build_encoder(models, "broken") / "model.onnx").write_bytes(b"nothing")

    assert code(lambda: load(stub, "broken")) == "INVALID_ARGUMENT"

    index = stub.RepositoryIndex(pb.RepositoryIndexRequest()).models
    (entry,) = (one for one in index if one.name == "broken")
    assert entry.state == "UNAVAILABLE"
    assert "model.onnx" in entry.reason
    assert stub.ServerReady(pb.ServerReadyRequest()).ready


def test_extension_is_advertised_where_it_works(stub: Stub) -> None:
    assert set(stub.ServerMetadata(pb.ServerMetadataRequest()).extensions) > EXTENSIONS


def test_without_the_option_nothing_is_loaded_by_call(target: Target) -> None:
    with target.inference() as stub:
        assert code(lambda: load(stub)) == "UNAVAILABLE"
        assert code(lambda: unload(stub)) == "UNAVAILABLE"
        extensions = stub.ServerMetadata(pb.ServerMetadataRequest()).extensions
        assert EXTENSIONS.isdisjoint(extensions)
