"""The trial of comparisons counts what each came to, and says so in its exit code."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BRIEF = ("--same", "1", "--slower", "1", "--pairs", "4", "--seconds", "0.3")


@pytest.mark.thorough  # sixteen runs
@pytest.mark.timeout(240)
def test_a_server_that_is_half_as_fast_again_is_found() -> None:
    command = [sys.executable, "-m", "loadtest.compare.trial", *BRIEF, "--by", "50"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    *_, same, slower, _, word = ended.stdout.splitlines()
    assert same.startswith("A against A: 1 "), ended.stderr
    assert same.endswith("in 1")
    assert slower == "A against 50 % slower: 1 worse; found 1 of 1"
    is_undecided = "1 not enough data" in same or "1 INVALID" in same
    is_right = not is_undecided and "0 false alarms" in same
    assert ended.returncode == (0 if is_right else 1)
    assert ("only 0 of 1 could be decided" in word) == is_undecided
