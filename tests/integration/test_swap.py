"""A new version replaces the old one under load without a failed call, or not at all."""

import json
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import psutil
import pytest
from bundles import SLOW_ID, build_encoder
from loopback import Target, serve
from waiting import until

from protos import inference_pb2 as oip
from protos.heed.v1 import text_pb2 as pb

NUM_CALLERS = 4
EXPLICIT = ("--model-control", "explicit", "--threads", "1")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "models"
    build_encoder(root)
    return root


def load(target: Target) -> None:
    with target.inference() as stub:
        stub.RepositoryModelLoad(oip.RepositoryModelLoadRequest(model_name="tiny"))


def refusal(target: Target) -> str:
    """Return what a load that must fail says."""
    with pytest.raises(grpc.RpcError) as caught:
        load(target)
    return f"{caught.value.code().name} {caught.value.details()}"


def embed(target: Target) -> str:
    with target.text() as stub:
        return str(stub.Embed(pb.EmbedRequest(model="tiny", texts=["word1"])).version)


@contextmanager
def callers(target: Target) -> Iterator[Counter[str]]:
    """Call without a pause from several threads, and count the answers by version or status."""
    ended = threading.Event()
    answers: Counter[str] = Counter()

    def call() -> None:
        with target.text() as stub:
            while not ended.is_set():
                try:
                    answer = stub.Embed(
                        pb.EmbedRequest(model="tiny", texts=["word1", "word2 slow"])
                    )
                    answers[answer.version] += 1
                except grpc.RpcError as error:
                    answers[f"{error.code().name} {error.details()}"] += 1

    threads = [threading.Thread(target=call) for _ in range(NUM_CALLERS)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def swap_under_load(root: Path, num_swaps: int) -> None:
    with serve(root, *EXPLICIT, "--no-probe") as target, callers(target) as answers:
        for version in range(2, 2 + num_swaps):
            build_encoder(root, version=version)
            before = answers.copy()
            load(target)
            assert embed(target) == str(version)
            until(lambda expected=version: answers[str(expected)] > NUM_CALLERS)  # type: ignore[misc]
            assert answers.total() > before.total()

    assert set(answers) == {str(version) for version in range(1, 2 + num_swaps)}


def test_no_call_fails_while_versions_are_replaced(root: Path) -> None:
    swap_under_load(root, 4)


@pytest.mark.thorough
@pytest.mark.timeout(600)
def test_no_call_fails_across_fifty_replacements(root: Path) -> None:
    swap_under_load(root, 50)


def truncate(bundle: Path) -> None:
    path = bundle / "model.onnx"
    path.write_bytes(path.read_bytes()[:-10])


def lose_tokenizer(bundle: Path) -> None:
    (bundle / "tokenizer.json").unlink()


def garble_manifest(bundle: Path) -> None:
    (bundle / "bundle.json").write_text("{")


def promise_another_datatype(bundle: Path) -> None:
    output = {"name": "sentence_embedding", "datatype": "FP16", "shape": [-1, 8], "per": "sequence"}
    edit(bundle, outputs=[output])


def edit(bundle: Path, **fields: object) -> None:
    path = bundle / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize("mode", ["--probe", "--no-probe"])
def test_broken_version_leaves_the_old_one_serving(root: Path, mode: str) -> None:
    cases: list[tuple[Callable[[Path], None], str]] = [
        (truncate, "bytes"),
        (lose_tokenizer, "tokenizer.json is missing"),
        (garble_manifest, "export the bundle again"),
        (promise_another_datatype, "the graph answers float32 [8] per sequence"),
    ]
    with serve(root, *EXPLICIT, mode) as target:
        for version, (damage, hint) in enumerate(cases, start=2):
            damage(build_encoder(root, version=version))

            said = refusal(target)
            assert said.startswith("INVALID_ARGUMENT ")
            assert (hint in said, f"tiny/{version}" in said) == (True, True)
            assert (embed(target), target.get("/readyz")[0]) == ("1", 200)

        build_encoder(root, version=20)
        load(target)
        assert embed(target) == "20"


def test_one_broken_version_keeps_its_sound_neighbours_out(root: Path) -> None:
    with serve(root, *EXPLICIT, "--no-probe", "--versions", "all") as target:
        build_encoder(root, version=2)
        truncate(build_encoder(root, version=3))

        refusal(target)
        assert embed(target) == "1"


@contextmanager
def slow_load(root: Path, target: Target) -> Iterator[tuple[psutil.Process, list[str]]]:
    """Load a version whose padding token is slow; yield the busy child and what the call says."""
    text = {"tokenizer": "tokenizer.json", "pad_id": SLOW_ID, "position_offset": 0}
    edit(build_encoder(root, version=2), text=text)
    server = psutil.Process(target.process.pid)
    said: list[str] = []
    loading = threading.Thread(target=lambda: said.append(refusal(target)))
    loading.start()
    until(lambda: len(server.children()) == 1)
    yield server.children()[0], said
    loading.join()


def test_child_that_crashes_costs_nobody_an_answer(root: Path) -> None:
    with serve(root, *EXPLICIT) as target, callers(target) as answers:
        with slow_load(root, target) as (child, said):
            child.send_signal(signal.SIGSEGV)

        assert "SIGSEGV" in said[0]
        assert embed(target) == "1"

    assert set(answers) == {"1"}


def test_drain_ends_a_load_that_is_under_way(root: Path) -> None:
    with serve(root, *EXPLICIT) as target, slow_load(root, target) as (child, said):
        status = target.stop()

    assert (status, child.is_running()) == (0, False)
    assert said[0].startswith("UNAVAILABLE the server is shutting down")
