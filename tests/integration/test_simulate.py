"""Recording the arrivals of a real server, and replaying them with heed-serve simulate."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from loopback import run, serve

from protos.heed.v1 import text_pb2 as pb
from server.batching.arrivals import read


@pytest.fixture(scope="module")
def recording(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three calls, one of which the cache answers."""
    path = tmp_path_factory.mktemp("arrivals") / "arrivals.jsonl"
    options = ("--record-arrivals", str(path), "--cache-bytes", "1000000")
    with serve(repository, *options) as target, target.text() as stub:
        stub.Embed(pb.EmbedRequest(model="tiny", texts=["word1 word2", "word3"]))
        stub.Embed(pb.EmbedRequest(model="tiny", texts=["word1 word2"]), timeout=30)
        stub.Embed(pb.EmbedRequest(model="tiny", texts=["word4"]), timeout=30)
        assert target.stop() == 0
    return path


def simulate(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "server", "simulate", *arguments],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def report(*arguments: str) -> Any:
    ended = simulate(*arguments, "--json")
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_every_request_is_recorded_without_its_text(recording: Path) -> None:
    recorded = read(recording)

    assert [one.lengths for one in recorded] == [(4, 3), (4,), (3,)]
    assert {one.model for one in recorded} == {"tiny"}
    assert {one.priority for one in recorded} == {2}
    assert recorded[0].deadline_s is None
    assert [round(one.deadline_s or 0, -1) for one in recorded[1:]] == [30, 30]
    assert "word" not in recording.read_text()


def test_server_refuses_a_file_that_it_cannot_record_to(repository: Path, tmp_path: Path) -> None:
    ended = run(repository, "--record-arrivals", str(tmp_path / "absent" / "file"))

    assert ended.returncode == 2
    assert "--record-arrivals" in ended.stderr


def test_replay_serves_what_was_recorded(recording: Path) -> None:
    played = report(str(recording), "--threads", "1")

    assert (played["num_requests"], played["num_sequences"]) == (3, 4)
    assert [one["policy"] for one in played["policies"]] == [
        "packed",
        "padded FIFO",
        "sorted, padded",
        "batch 1",
    ]
    assert [one["fates"]["served"] for one in played["policies"]] == [3] * 4
    assert played["served_by"]["cost_from"] == "assumed"
    assert played == report(str(recording), "--threads", "1")


def test_bundle_gives_its_own_cost_and_limits(recording: Path, repository: Path) -> None:
    bundle = str(repository / "tiny" / "1")
    played = report(str(recording), "--bundle", bundle, "--tuning", "")

    assert played["served_by"]["model"] == "tiny version 1"
    assert played["served_by"]["max_batch_tokens"] == 256
    assert played["served_by"]["cost_from"] == "measured now"
    assert played["policies"][0]["fates"]["served"] == 3


def test_options_of_the_server_apply(recording: Path) -> None:
    options = ("--batching", "padded", "--max-queue-tokens", "5", "--threads", "3")
    played = report(str(recording), *options)

    assert played["served_by"]["num_threads"] == 3
    assert played["policies"][0]["policy"] == "padded"
    assert [one["fates"]["too_large"] for one in played["policies"]] == [1] * 4


def test_table_has_a_column_for_each_policy(recording: Path) -> None:
    shown = simulate(str(recording))

    assert shown.returncode == 0
    lines = shown.stdout.splitlines()
    assert lines[0].startswith("recording  3 requests, 4 sequences, 3.5 tokens on average")
    served = next(line for line in lines if line.startswith("served   "))
    assert served.split() == ["served", "3", "3", "3", "3"]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["{}"], "line 1"),
        (['{"heed_arrivals":1,"began":1.0}'], "no requests"),
        (
            [
                '{"heed_arrivals":1,"began":1.0}',
                '{"t":0.1,"model":"one","lengths":[1],"priority":1,"deadline_s":null}',
                '{"t":0.2,"model":"two","lengths":[1],"priority":1,"deadline_s":null}',
            ],
            "one, two",
        ),
    ],
)
def test_recording_that_cannot_be_replayed_is_explained(
    tmp_path: Path, lines: list[str], problem: str
) -> None:
    path = tmp_path / "arrivals.jsonl"
    path.write_text("\n".join(lines) + "\n")
    ended = simulate(str(path))

    assert ended.returncode == 2
    assert problem in ended.stderr
