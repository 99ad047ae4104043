"""A hundred times unloaded and loaded: memory, threads and descriptors stay where they were."""

from pathlib import Path

import psutil
import pytest
from bundles import build_encoder
from loopback import serve

from protos import inference_pb2 as oip
from protos.heed.v1 import text_pb2 as pb

CYCLES = 100
MAX_GROWTH = 0.10
"""Of resident memory, from after the first cycle to after the last."""

pytestmark = pytest.mark.timeout(600)


def test_loading_again_and_again_keeps_no_memory(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    build_encoder(repository)
    memory: list[int] = []
    handles: list[tuple[int, int]] = []
    with (
        serve(repository, "--model-control", "explicit", "--no-probe") as target,
        target.inference() as inference,
        target.text() as text,
    ):
        server = psutil.Process(target.process.pid)
        for _ in range(CYCLES):
            inference.RepositoryModelUnload(oip.RepositoryModelUnloadRequest(model_name="tiny"))
            inference.RepositoryModelLoad(oip.RepositoryModelLoadRequest(model_name="tiny"))
            text.Embed(pb.EmbedRequest(model="tiny", texts=["word1 word2"]))
            memory.append(server.memory_info().rss)
            handles.append((server.num_threads(), server.num_fds()))

    assert memory[-1] <= memory[0] * (1 + MAX_GROWTH)
    assert max(handles[CYCLES // 2 :]) <= max(handles[: CYCLES // 2])
