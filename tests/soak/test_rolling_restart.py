"""Replicas restarted, and versions swapped, under callers who never see a failure."""

import json
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event

import grpc
import pytest
from bundles import build_encoder
from loopback import Target, serve
from waiting import until

from protos import inference_pb2 as oip
from protos.heed.v1 import text_pb2 as pb
from protos.heed.v1 import text_pb2_grpc

RESTARTS = 6
SWAPS = 20
CALLERS = 8
MORE = 50
"""Calls that a replica has to answer before the next one goes."""
# A draining server refuses by hand for up to a second before it closes its connections. Retries
# alone may all fall into that second; a balancer that watches health looks away before it begins.
SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": ""},
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.05s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
}

pytestmark = pytest.mark.timeout(600)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def balanced(*ports: int) -> grpc.Channel:
    """Return a channel that spreads calls over replicas and retries what they refuse."""
    return grpc.insecure_channel(
        "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports),
        options=[
            ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 500),
        ],
    )


@contextmanager
def calling(channel: grpc.Channel) -> Iterator[Counter[str]]:
    """Keep callers busy, and yield how their calls have ended so far."""
    codes: Counter[str] = Counter()
    ended = Event()
    stub = text_pb2_grpc.TextServiceStub(channel)

    def call_on() -> None:
        while not ended.is_set():
            call = stub.Embed.future(pb.EmbedRequest(model="tiny", texts=["word1"]), timeout=30)
            error = call.exception()
            codes["OK" if error is None else str(error)] += 1

    with ThreadPoolExecutor(CALLERS) as callers:
        done = [callers.submit(call_on) for _ in range(CALLERS)]
        try:
            yield codes
        finally:
            ended.set()
    for one in done:
        one.result()


def answers_more(target: Target) -> Callable[[], bool]:
    """Return whether a server has answered some more calls since now."""
    line = 'heed_requests_total{code="OK",method="/heed.v1.TextService/Embed"}'
    before = target.metric(line)
    return lambda: target.metric(line) >= before + MORE


def test_no_call_fails_while_replicas_restart(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    build_encoder(repository)
    ports = [free_port(), free_port()]
    with ExitStack() as stack:

        def start(number: int) -> Target:
            return stack.enter_context(serve(repository, "--port", str(ports[number])))

        replicas = [start(0), start(1)]
        with balanced(*ports) as channel, calling(channel) as codes:
            for restart in range(RESTARTS):
                number = restart % 2
                until(answers_more(replicas[1 - number]))
                assert replicas[number].stop() == 0
                until(answers_more(replicas[1 - number]))
                replicas[number] = start(number)
                until(answers_more(replicas[number]))

    assert set(codes) == {"OK"}, codes


def test_no_call_fails_while_versions_are_swapped(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    build_encoder(repository)
    with (
        serve(repository, "--model-control", "explicit") as target,
        target.channel() as channel,
        target.inference() as stub,
        calling(channel) as codes,
    ):
        for version in range(2, SWAPS + 2):
            build_encoder(repository, version=version)
            stub.RepositoryModelLoad(oip.RepositoryModelLoadRequest(model_name="tiny"), timeout=60)
            found = stub.ModelMetadata(oip.ModelMetadataRequest(name="tiny"), timeout=30)
            assert found.versions == [str(version)]
            until(answers_more(target))

    assert set(codes) == {"OK"}, codes
