"""Metrics, probes, health and reflection: what operators and their tools ask."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from loopback import Target, serve
from statuses import status

from protos.heed.v1 import text_pb2 as pb

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
MALFORMED = b"\xff\xff"


def test_probes(target: Target) -> None:
    assert target.get("/livez") == (200, "live\n")
    assert target.get("/readyz") == (200, "ready\n")
    assert target.get("/nowhere")[0] == 404


def test_metrics_follow_the_conventions(target: Target) -> None:
    if shutil.which("promtool") is None:
        assert os.environ.get("CI") != "true", "promtool is missing"
        pytest.skip("promtool is missing: apt-get install prometheus")
    ended = subprocess.run(
        ["promtool", "check", "metrics"],  # noqa: S607  (found on the path above)
        input=target.get("/metrics")[1],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, ended.stdout + ended.stderr) == (0, "")


def test_a_call_moves_the_metrics(target: Target) -> None:
    ok = 'heed_requests_total{code="OK",method="/heed.v1.TextService/Embed"}'
    before = {
        name: target.metric(name) for name in (ok, "heed_tokens_total", "heed_batch_tokens_count")
    }
    with target.text() as stub:
        stub.Embed(pb.EmbedRequest(model="tiny", texts=["word1 word2"]), timeout=30)

    assert target.metric(ok) == before[ok] + 1
    assert target.metric("heed_tokens_total") == before["heed_tokens_total"] + 4
    assert target.metric("heed_batch_tokens_count") == before["heed_batch_tokens_count"] + 1
    assert target.metric("heed_inflight_requests") == 0
    assert target.metric("heed_queue_tokens") == 0


@pytest.mark.parametrize("service", ["", "tiny"])
def test_health_check(target: Target, service: str) -> None:
    with target.channel() as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)

    assert answer.status == SERVING


def test_health_of_an_unknown_model(target: Target) -> None:
    with target.channel() as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Check(health_pb2.HealthCheckRequest(service="other"), timeout=10)

    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_health_watch_sees_the_drain(repository: Path) -> None:
    with serve(repository, "--drain-delay-s", "1") as target, target.channel() as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="tiny"), timeout=30)
        seen = [next(watch).status]
        target.process.terminate()
        seen.append(next(watch).status)

    assert seen == [SERVING, NOT_SERVING]


def test_reflection_names_every_service(target: Target) -> None:
    with target.channel() as channel:
        services = ProtoReflectionDescriptorDatabase(channel).get_services()

    assert {
        "inference.GRPCInferenceService",
        "heed.v1.TextService",
        "grpc.health.v1.Health",
    } <= set(services)


def test_reflection_can_be_turned_off(repository: Path) -> None:
    with serve(repository, "--no-reflection") as target, target.channel() as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        with pytest.raises(grpc.RpcError):
            database.get_services()


@pytest.mark.parametrize("method", ["Check", "Watch", "List"])
def test_malformed_health_request_is_the_callers_mistake(target: Target, method: str) -> None:
    with target.channel() as channel:
        call: Any = channel.unary_stream(f"/grpc.health.v1.Health/{method}")

        assert status(lambda: list(call(MALFORMED, timeout=10))) == "INVALID_ARGUMENT"


def test_malformed_reflection_request_is_the_callers_mistake(target: Target) -> None:
    path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    with target.channel() as channel:
        call: Any = channel.stream_stream(path)

        assert status(lambda: list(call(iter([MALFORMED]), timeout=10))) == "INVALID_ARGUMENT"


def test_texts_are_never_logged(repository: Path) -> None:
    with serve(repository, "--log-level", "debug") as target:
        with target.text() as stub, pytest.raises(grpc.RpcError):
            stub.Embed(pb.EmbedRequest(model="tiny", texts=["secret " * 40]), timeout=30)
        log = target.log.read_text()

    assert "a call was refused" in log
    assert "secret" not in log
