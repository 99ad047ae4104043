"""The trial of comparisons counts what each came to, and says so in its exit code."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BRIEF = ("--same", "1", "--slower", "1", "--seconds", "0.3", "--service-ms", "20")


@pytest.mark.thorough  # 32 runs
@pytest.mark.timeout(240)
def test_the_exit_code_is_what_was_counted() -> None:
    command = [sys.executable, "-m", "loadtest.compare.trial", *BRIEF, "--by", "100"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    *_, same, slower, _, word = ended.stdout.splitlines()
    # What one comparison comes to is up to the machine.
    is_found = "1 worse; found 1 of 1" in slower
    assert is_found or "; found 0 of 1" in slower, ended.stdout + ended.stderr
    is_decided = "not enough data" not in same and "INVALID" not in same
    is_right = is_decided and is_found and "0 false alarms in 1" in same
    assert ended.returncode == (0 if is_right else 1)
    assert ("only 0 of 1 could be decided" in word) == (not is_decided)
