"""Minutes of load: nothing grows. `make soak`; SOAK_SECONDS sets how long."""

import os
import subprocess
import sys
from pathlib import Path
from threading import Event, Thread

import psutil
import pytest
from bundles import build_encoder
from loopback import serve

SECONDS = float(os.environ.get("SOAK_SECONDS", "180"))
SAMPLES = 30
MAX_GROWTH = 0.05
"""Of resident memory from the middle of the run to its end; arenas have settled by then."""

SCENARIO = """
kind = "closed"
description = "Texts of every length that the tiny model takes"
rpc = "embed"
users = 16
duration_s = {seconds}
warmup_s = 2.0
seed = 1
texts_per_call = 3
deadline_s = 10.0
percentile = 99.0

[lengths]
distribution = "uniform"
min = 3
max = 32
"""

pytestmark = pytest.mark.timeout(SECONDS + 120)


def test_memory_threads_and_descriptors_do_not_grow(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    build_encoder(repository)
    memory: list[int] = []
    handles: list[tuple[int, int]] = []
    ended = Event()
    with serve(repository) as target:
        server = psutil.Process(target.process.pid)

        def sample() -> None:
            while not ended.wait(SECONDS / SAMPLES):
                memory.append(server.memory_info().rss)
                handles.append((server.num_threads(), server.num_fds()))

        sampler = Thread(target=sample)
        sampler.start()
        scenario = tmp_path / "soak.toml"
        scenario.write_text(SCENARIO.format(seconds=SECONDS))
        load = subprocess.run(
            [sys.executable, "-m", "loadtest", "run", str(scenario), "--target", target.address]
            + ["--model", "tiny", "--out", str(tmp_path / "report"), "--quiet"],
            capture_output=True,
            text=True,
            check=False,
        )
        ended.set()
        sampler.join()
        status = target.stop()

    assert load.returncode in (0, 3), load.stderr
    assert status == 0
    middle = len(memory) // 2
    assert max(memory[middle:]) <= memory[middle] * (1 + MAX_GROWTH)
    assert max(handles[middle:]) <= max(handles[: middle + 1])
