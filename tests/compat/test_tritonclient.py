"""The official Triton client works unchanged, in an environment and process of its own."""

import json
import os
import subprocess
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import certificates
import pytest
from bundles import build_encoder, build_topics
from google.protobuf.descriptor import Descriptor, EnumDescriptor
from loopback import Target, serve

from protos import inference_pb2 as pb

# Its newest release wants protobuf < 7, so it cannot share heed's environment.
CLIENT = "tritonclient[grpc]==2.73.0"
HERE = Path(__file__).parent
FULL = ("--model-control", "explicit", "--shared-memory")
SYNC = (
    "describe", "infer", "async_infer", "stream", "shared memory", "settings", "statistics",
    "control",
)  # fmt: skip
AIO = ("describe", "infer", "stream", "shared memory", "settings", "control")

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def client_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("triton")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    installed = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", CLIENT],
        capture_output=True,
        text=True,
        check=False,
    )
    if installed.returncode != 0:
        reason = f"pip could not install {CLIENT}: {installed.stderr[-300:]}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return python


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("compat") / "models"
    build_encoder(root)
    build_topics(root)
    return root


@pytest.fixture
def target(repository: Path) -> Iterator[Target]:
    with serve(repository, *FULL) as running:
        yield running


def run(python: Path, script: str, *arguments: str) -> list[str]:
    """Run a script with the client and return the lines that it printed."""
    ended = subprocess.run(
        [python, HERE / script, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"PYTHONPATH": str(HERE.parent)},
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout.splitlines()


def test_every_call_of_the_client_is_answered(client_python: Path, target: Target) -> None:
    assert run(client_python, "triton_calls.py", target.address) == [f"ok {one}" for one in SYNC]


def test_every_call_of_the_asyncio_client_is_answered(client_python: Path, target: Target) -> None:
    lines = run(client_python, "triton_aio_calls.py", target.address)

    assert lines == [f"ok {one}" for one in AIO]


@pytest.mark.parametrize("mutual", [False, True], ids=["tls", "mutual tls"])
def test_client_is_answered_over_tls(
    client_python: Path,
    repository: Path,
    tmp_path: Path,
    mutual: bool,  # noqa: FBT001  (a parameter of the test)
) -> None:
    authority = certificates.make(tmp_path, "authority")
    server = certificates.make(tmp_path, "server", authority)
    client = certificates.make(tmp_path, "client", authority)
    more = ("--tls-client-ca", str(authority.cert)) if mutual else ()
    own = (str(client.key), str(client.cert)) if mutual else ()
    with serve(repository, *server.options, *more) as target:
        lines = run(client_python, "triton_tls.py", target.address, str(authority.cert), *own)

    assert lines == ["ok sync", "ok aio"]


def test_messages_and_calls_are_those_of_the_client(client_python: Path) -> None:
    (line,) = run(client_python, "triton_fields.py")
    official = json.loads(line)

    assert declared_calls() == official["calls"]
    fields, enums = declared_messages()
    assert fields == {name: official["fields"].get(name) for name in fields}
    assert enums == {name: official["enums"].get(name) for name in enums}


def declared_calls() -> dict[str, list[Any]]:
    service = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    return {
        call.name: [
            call.input_type.full_name,
            call.output_type.full_name,
            call.client_streaming,
            call.server_streaming,
        ]
        for call in service.methods
    }


def declared_messages() -> tuple[dict[str, list[Any]], dict[str, dict[str, int]]]:
    fields: dict[str, list[Any]] = {}
    enums = {one.full_name: _enum(one) for one in pb.DESCRIPTOR.enum_types_by_name.values()}
    waiting: list[Descriptor] = list(pb.DESCRIPTOR.message_types_by_name.values())
    while waiting:
        message = waiting.pop()
        waiting.extend(message.nested_types)
        enums |= {one.full_name: _enum(one) for one in message.enum_types}
        for field in message.fields:
            kind = field.message_type or field.enum_type
            fields[field.full_name] = [
                field.number,
                field.type,
                field.is_repeated,
                kind.full_name if kind else "",
                field.containing_oneof.name if field.containing_oneof else "",
            ]
    return fields, enums


def _enum(descriptor: EnumDescriptor) -> dict[str, int]:
    return {value.name: value.number for value in descriptor.values}
