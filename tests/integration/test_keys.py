"""API keys: which calls a key opens, how it may be sent, and how the file is renewed."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from loopback import Target, serve
from statuses import status
from waiting import until

from protos import inference_pb2 as oip
from protos import inference_pb2_grpc
from protos.heed.v1 import text_pb2 as pb
from protos.heed.v1 import text_pb2_grpc

INFER, CONTROL, INFO = "secret-of-infer", "secret-of-control", "secret-of-info"

Metadata = tuple[tuple[str, str], ...]
Call = Callable[[grpc.Channel, Metadata], object]


def write_keys(path: Path, **keys: str) -> None:
    """Write a file that opens each group to the key of its name."""
    tables = [
        f'[[keys]]\nname = "team-{group}"\ngroups = ["{group}"]\n'
        f'sha256 = "{hashlib.sha256(key.encode()).hexdigest()}"\n'
        for group, key in keys.items()
    ]
    path.write_text("\n".join(tables))


def embed(channel: grpc.Channel, metadata: Metadata) -> object:
    stub = text_pb2_grpc.TextServiceStub(channel)
    return stub.Embed(pb.EmbedRequest(model="tiny", texts=["word1"]), metadata=metadata, timeout=30)


def ready(channel: grpc.Channel, metadata: Metadata) -> object:
    stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
    return stub.ServerReady(oip.ServerReadyRequest(), metadata=metadata, timeout=10)


def index(channel: grpc.Channel, metadata: Metadata) -> object:
    stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
    return stub.RepositoryIndex(oip.RepositoryIndexRequest(), metadata=metadata, timeout=10)


def trace(channel: grpc.Channel, metadata: Metadata) -> object:
    stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
    return stub.TraceSetting(oip.TraceSettingRequest(), metadata=metadata, timeout=10)


def set_trace(channel: grpc.Channel, metadata: Metadata) -> object:
    stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
    message = oip.TraceSettingRequest()
    message.settings["trace_rate"].value.append("1")
    return stub.TraceSetting(message, metadata=metadata, timeout=10)


def health(channel: grpc.Channel, metadata: Metadata) -> object:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    return stub.Check(health_pb2.HealthCheckRequest(), metadata=metadata, timeout=10)


def reflect(channel: grpc.Channel, metadata: Metadata) -> object:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    message = reflection_pb2.ServerReflectionRequest(list_services="*")
    return list(stub.ServerReflectionInfo(iter([message]), metadata=metadata, timeout=10))


@pytest.fixture(scope="module")
def keyed(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    keys = tmp_path_factory.mktemp("keys") / "keys.toml"
    write_keys(keys, infer=INFER, control=CONTROL, info=INFO)
    with serve(repository, "--api-keys", str(keys), "--log-level", "debug") as target:
        yield target


def code(target: Target, call: Call, *metadata: tuple[str, str]) -> str:
    """Make a call and return its status."""
    with target.channel() as channel:
        return status(lambda: call(channel, metadata))


@pytest.mark.parametrize(
    ("call", "allowed"),
    [(embed, {INFER}), (index, {INFO}), (reflect, {INFO}), (trace, {INFO}), (set_trace, {CONTROL})],
)
def test_each_call_opens_to_the_keys_of_its_group_only(
    keyed: Target, call: Call, allowed: set[str]
) -> None:
    codes = {key: code(keyed, call, ("x-api-key", key)) for key in (INFER, CONTROL, INFO)}

    refused = {key for key, found in codes.items() if found == "PERMISSION_DENIED"}
    assert refused == {INFER, CONTROL, INFO} - allowed
    assert {codes[key] for key in allowed} == {"OK"}
    assert code(keyed, call) == "UNAUTHENTICATED"
    assert code(keyed, call, ("x-api-key", "unknown")) == "UNAUTHENTICATED"


@pytest.mark.parametrize("call", [ready, health])
def test_liveness_and_health_need_no_key(keyed: Target, call: Call) -> None:
    assert code(keyed, call) == "OK"


@pytest.mark.parametrize(
    "metadata",
    [
        ("authorization", f"Bearer {INFER}"),
        ("authorization", f"bearer {INFER}"),
        ("x-api-key", INFER),
        ("triton-grpc-protocol-infer", INFER),
    ],
)
def test_key_may_be_sent_in_any_of_these_ways(keyed: Target, metadata: tuple[str, str]) -> None:
    assert code(keyed, embed, metadata) == "OK"


def test_another_scheme_of_authorization_is_no_key(keyed: Target) -> None:
    assert code(keyed, embed, ("authorization", f"Basic {INFER}")) == "UNAUTHENTICATED"


def test_refusals_are_counted_and_keys_never_logged(keyed: Target) -> None:
    before = keyed.metric('heed_rejected_total{reason="key"}')
    code(keyed, embed)
    code(keyed, embed, ("x-api-key", INFO))

    assert keyed.metric('heed_rejected_total{reason="key"}') == before + 2
    assert "a call was refused" in keyed.log.read_text()
    assert "secret-of" not in keyed.log.read_text()


def test_new_file_replaces_the_keys_without_a_restart(repository: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    write_keys(keys, infer=INFER)
    with serve(repository, "--api-keys", str(keys), "--tls-reload-s", "0.1") as target:
        assert code(target, embed, ("x-api-key", INFER)) == "OK"
        write_keys(keys, infer="another")

        until(lambda: code(target, embed, ("x-api-key", "another")) == "OK")
        assert code(target, embed, ("x-api-key", INFER)) == "UNAUTHENTICATED"


def test_broken_new_file_leaves_the_keys_as_they_were(repository: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    write_keys(keys, infer=INFER)
    with serve(repository, "--api-keys", str(keys), "--tls-reload-s", "0.1") as target:
        keys.write_text("[[keys]")

        until(
            lambda: (
                code(target, embed, ("x-api-key", INFER)) == "OK"
                and "the one before stays in force" in target.log.read_text()
            )
        )
        assert code(target, embed, ("x-api-key", INFER)) == "OK"


def test_keys_on_an_open_network_without_encryption_are_warned_about(
    repository: Path, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.toml"
    write_keys(keys, infer=INFER)
    with serve(repository, "--api-keys", str(keys), "--host", "0.0.0.0") as target:  # noqa: S104
        assert "cross the network unencrypted" in target.log.read_text()
