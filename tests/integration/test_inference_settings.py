"""Trace and log settings change what the server logs while it serves."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensors
from bundles import build_encoder
from loopback import Target, serve
from waiting import until

from protos import inference_pb2 as pb

IDS = np.array([[2, 5, 3]], np.int64)
ARRAYS = {"input_ids": IDS, "segment_ids": np.ones_like(IDS), "position_ids": np.arange(3)[None]}
TRACE = "server.trace"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Target]:
    """A server whose settings may be changed, with two models."""
    build_encoder(tmp_path / "models")
    build_encoder(tmp_path / "models", "other")
    with serve(tmp_path / "models", "--log-level", "warning") as running:
        yield running


def infer(target: Target, request_id: str, model: str = "tiny") -> None:
    request = tensors.request(model, ARRAYS)
    request.id = request_id
    with target.inference() as stub:
        stub.ModelInfer(request, timeout=30)


def trace(target: Target, model: str = "", **settings: str) -> dict[str, list[str]]:
    value = pb.TraceSettingRequest.SettingValue
    request = pb.TraceSettingRequest(
        model_name=model, settings={name: value(value=[text]) for name, text in settings.items()}
    )
    with target.inference() as stub:
        answer = stub.TraceSetting(request, timeout=30)
    return {name: list(setting.value) for name, setting in answer.settings.items()}


def log_settings(target: Target, **settings: pb.LogSettingsRequest.SettingValue) -> dict[str, Any]:
    with target.inference() as stub:
        answer = stub.LogSettings(pb.LogSettingsRequest(settings=settings), timeout=30)
    return {
        name: getattr(value, str(value.WhichOneof("parameter_choice")))
        for name, value in answer.settings.items()
    }


def logged(target: Target) -> list[dict[str, Any]]:
    lines = target.log.read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def traced(target: Target) -> list[dict[str, Any]]:
    return [line for line in logged(target) if line["logger"] == TRACE]


def test_traced_requests_are_logged_with_their_timings_and_nothing_else(own: Target) -> None:
    trace(own, trace_level="TIMESTAMPS", trace_rate="2", trace_count="2")

    for number in range(8):
        infer(own, str(number))

    until(lambda: len(traced(own)) == 2)
    first, second = traced(own)
    assert [first["request_id"], second["request_id"]] == ["1", "3"]
    assert set(first) == {
        "time", "level", "logger", "message", "request_id", "model", "version", "queue_s", "run_s",
        "total_s", "batch_sequences", "batch_tokens",
    }  # fmt: skip
    assert (first["model"], first["batch_sequences"], first["batch_tokens"]) == ("tiny", 1, 3)
    assert 0 < first["run_s"] <= first["total_s"]
    assert trace(own)["trace_count"] == ["0"]


def test_one_model_may_be_traced_alone(own: Target) -> None:
    trace(own, "other", trace_level="TIMESTAMPS", trace_rate="1")

    infer(own, "a")
    infer(own, "b", "other")

    until(lambda: len(traced(own)) == 1)
    assert traced(own)[0]["model"] == "other"
    assert trace(own)["trace_level"] == ["OFF"]


@pytest.mark.parametrize(
    ("model", "settings", "code"),
    [
        ("nobody", {}, "INVALID_ARGUMENT"),
        ("", {"trace_color": "red"}, "INVALID_ARGUMENT"),
        ("", {"trace_file": "/tmp/trace"}, "UNIMPLEMENTED"),  # noqa: S108  (never written)
    ],
)
def test_bad_trace_settings_are_refused(
    target: Target, model: str, settings: dict[str, str], code: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        trace(target, model, **settings)

    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code().name == code


def test_log_level_changes_while_serving(own: Target) -> None:
    def refuse() -> None:
        with pytest.raises(grpc.RpcError):
            infer(own, "x", "nobody")

    before = log_settings(own)
    refuse()
    value = pb.LogSettingsRequest.SettingValue
    after = log_settings(own, log_verbose_level=value(uint32_param=1))
    refuse()

    assert (before["log_info"], before["log_warning"], before["log_verbose_level"]) == (
        False,
        True,
        0,
    )
    assert after == before | {"log_verbose_level": 1}
    until(lambda: any(line["level"] == "debug" for line in logged(own)))
    assert sum(line["message"] == "a call was refused" for line in logged(own)) == 1


def test_bad_log_settings_are_refused(target: Target) -> None:
    value = pb.LogSettingsRequest.SettingValue
    for settings, code in (
        ({"log_file": value(string_param="/tmp/log")}, "UNIMPLEMENTED"),  # noqa: S108
        ({"log_everything": value(bool_param=True)}, "INVALID_ARGUMENT"),
        ({"log_info": value(uint32_param=1)}, "INVALID_ARGUMENT"),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            log_settings(target, **settings)
        assert isinstance(caught.value, grpc.Call)
        assert caught.value.code().name == code


def test_settings_of_one_process_among_several_are_read_only(tmp_path: Path) -> None:
    build_encoder(tmp_path / "models")
    value = pb.LogSettingsRequest.SettingValue(bool_param=False)
    with serve(tmp_path / "models", "--reuse-port") as target, target.inference() as stub:
        extensions = stub.ServerMetadata(pb.ServerMetadataRequest()).extensions
        with pytest.raises(grpc.RpcError) as caught:
            log_settings(target, log_info=value)
        assert log_settings(target)["log_info"]

    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert {"logging", "trace"}.isdisjoint(extensions)
