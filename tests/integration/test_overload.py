"""More than can be served: refused at once, with a time to come back, and nothing else suffers."""

from pathlib import Path

import grpc
import pytest
from loopback import serve
from waiting import until

from protos.heed.v1 import text_pb2 as pb
from protos.heed.v1 import text_pb2_grpc

SLOW = "slow " * 25
PUSHBACK = "grpc-retry-pushback-ms"


def ask(text: str) -> pb.EmbedRequest:
    return pb.EmbedRequest(model="tiny", texts=[text])


def refusal(stub: text_pb2_grpc.TextServiceStub, text: str, timeout: float = 60) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        stub.Embed(ask(text), timeout=timeout)
    return caught.value


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--max-inflight-requests", "2"], "inflight_full"),
        (["--max-inflight-bytes", "300"], "inflight_full"),
        (["--max-queue-requests", "1"], "queue_full"),
        (["--max-queue-tokens", "30"], "queue_full"),
    ],
)
def test_every_bound_refuses_with_a_time_to_come_back(
    repository: Path, options: list[str], reason: str
) -> None:
    with serve(repository, "--threads", "1", *options) as target, target.text() as stub:
        running = stub.Embed.future(ask(SLOW))
        until(lambda: target.metric("heed_inflight_requests") == 1)
        until(lambda: target.metric("heed_queue_requests") == 0)
        waiting = stub.Embed.future(ask(SLOW))
        until(lambda: target.metric("heed_inflight_requests") == 2)
        error = refusal(stub, SLOW)

        assert isinstance(error, grpc.Call)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert int(dict(error.trailing_metadata())[PUSHBACK]) >= 0
        assert target.metric(f'heed_rejected_total{{reason="{reason}"}}') == 1
        assert running.exception() is None
        assert waiting.exception() is None
        assert stub.Embed(ask("word1"), timeout=60).embeddings


def test_call_that_would_expire_in_the_queue_is_refused_at_once(repository: Path) -> None:
    with serve(repository, "--threads", "1") as target, target.text() as stub:
        stub.Embed(ask(SLOW), timeout=60)  # shows what such a run costs
        backlog = [stub.Embed.future(ask(SLOW)) for _ in range(30)]
        until(lambda: target.metric("heed_inflight_requests") == 30)
        error = refusal(stub, "word1", timeout=0.4)

        assert isinstance(error, grpc.Call)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "allow more time" in (error.details() or "")
        assert int(dict(error.trailing_metadata())[PUSHBACK]) > 0
        assert target.metric('heed_rejected_total{reason="predicted_late"}') == 1
        assert not backlog[-1].done()
        for call in backlog:
            call.cancel()


def test_prediction_can_be_turned_off(repository: Path) -> None:
    options = ("--threads", "1", "--no-predict")
    with serve(repository, *options) as target, target.text() as stub:
        stub.Embed(ask(SLOW), timeout=60)
        backlog = [stub.Embed.future(ask(SLOW)) for _ in range(30)]
        until(lambda: target.metric("heed_inflight_requests") == 30)
        error = refusal(stub, "word1", timeout=0.2)

        assert isinstance(error, grpc.Call)
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        for call in backlog:
            call.cancel()
