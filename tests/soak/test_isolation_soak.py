"""Callers who hang up, send poison or flood: nobody else notices, and nothing grows."""

import json
import subprocess
import sys
from pathlib import Path
from random import Random

import psutil
import pytest
from bundles import build_encoder
from callers import alone, hang_up, has_settled, together
from loopback import Target, serve
from waiting import until

CALLS = 10_000
HALVES = 2
ROUNDS = 100
FLOOD_S = 60
FLOOD_RATE = 150
"""Several times what one thread embeds, whose every run holds one text and takes tens of ms."""
FLOOD_TEXT = "slow " + "word1 " * 24
ONE_TEXT = ("--threads", "1", "--max-batch-tokens", "32")
FLOOD_DEADLINE_S = 0.5
MAX_GROWTH = 0.10

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    build_encoder(root)
    return root


def resident(target: Target) -> int:
    size: int = psutil.Process(target.process.pid).memory_info().rss
    return size


async def test_callers_who_hang_up_at_any_moment_leave_nothing_behind(repository: Path) -> None:
    with serve(repository) as target:
        memory = []
        for half in range(HALVES):
            codes = await hang_up(target, CALLS // HALVES, seed=half)
            assert sum(codes.values()) == CALLS // HALVES
            assert set(codes) <= {"OK", "CANCELLED"}
            until(lambda: has_settled(target))
            memory.append(resident(target))

        assert memory[-1] <= memory[0] * (1 + MAX_GROWTH)
        assert target.stop() == 0


def test_only_poison_fails_in_full_batches(repository: Path) -> None:
    """Among texts of one length every answer keeps its bits, whatever the batch was cut into."""
    random = Random(1)  # noqa: S311  (no secret)
    texts = [f"word{number} word{number + 1}" for number in range(50)]
    with serve(repository, "--threads", "1") as target:
        expected = alone(target, texts)
        for _ in range(ROUNDS):
            batch = [*random.sample(texts, 29), *["word1 poison"] * random.randint(1, 3)]
            random.shuffle(batch)

            assert together(target, batch) == [expected.get(text, "INTERNAL") for text in batch]


def test_only_poison_fails_in_full_batches_of_any_lengths(repository: Path) -> None:
    """Rows of other widths add in another order, which is worth the last bits of a float."""
    random = Random(2)  # noqa: S311  (no secret)
    texts = [f"word{random.randrange(50)} " * random.randint(1, 12) for _ in range(40)]
    with serve(repository, "--threads", "1") as target:
        expected = alone(target, texts)
        for _ in range(ROUNDS):
            batch = [*random.sample(texts, 28), *["poison " * random.randint(1, 3)] * 3]
            random.shuffle(batch)

            for text, answer in zip(batch, together(target, batch), strict=True):
                wanted = expected.get(text, "INTERNAL")
                assert answer == (
                    wanted if text not in expected else pytest.approx(wanted, abs=1e-6)
                )


def test_a_flood_is_refused_and_forgotten(repository: Path, tmp_path: Path) -> None:
    lines = tmp_path / "texts.txt"
    lines.write_text(FLOOD_TEXT + "\n")
    with serve(repository, *ONE_TEXT) as target:
        before = alone(target, ["word1"])
        memory = []
        for _ in range(HALVES):
            ended = subprocess.run(
                [sys.executable, "-m", "loadtest.benchmarks.flood", "--target", target.address]
                + ["--model", "tiny", "--texts", str(lines), "--rate", str(FLOOD_RATE)]
                + [
                    "--seconds",
                    str(FLOOD_S / HALVES),
                    "--deadline",
                    str(FLOOD_DEADLINE_S),
                    "--json",
                ],
                capture_output=True,
                text=True,
                check=False,
            )
            assert ended.returncode == 0, ended.stderr
            codes = json.loads(ended.stdout)["codes"]
            assert set(codes) <= {"OK", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
            assert codes.get("OK", 0) > 0, codes
            until(lambda: has_settled(target))
            memory.append(resident(target))

        assert memory[-1] <= memory[0] * (1 + MAX_GROWTH)
        assert alone(target, ["word1"]) == before
