"""What a child's end says about the bundle that it opened."""

from pathlib import Path

import pytest

from server.config import ServerConfig
from server.probe import MAX_REASON, command, describe_end


@pytest.mark.parametrize(
    ("status", "said", "reason"),
    [
        (0, "a warning\n", ""),
        (1, "heed-serve: model.onnx is missing\n", "model.onnx is missing"),
        (1, "heed-serve: one\nheed-serve: two\n", "one\ntwo"),
        (3, "", "opening it ended a child process with status 3"),
        (-11, "", "opening it ended a child process with SIGSEGV; export it again"),
        (-6, "abort\n", "opening it ended a child process with SIGABRT; export it again\nabort"),
        (-250, "", "opening it ended a child process with signal 250; export it again"),
    ],
)
def test_end_of_a_child_is_described(status: int, said: str, reason: str) -> None:
    assert describe_end(status, said) == reason


def test_long_complaints_are_cut_to_their_end() -> None:
    reason = describe_end(1, "x" * 2 * MAX_REASON + "end")

    assert (len(reason), reason[-3:]) == (MAX_REASON, "end")


def test_child_gets_the_configuration_of_its_parent() -> None:
    config = ServerConfig(threads=3, probe=False, models=Path("a b"))

    words = command(Path("models/tiny/1"), config)

    assert {"--threads=3", "--no-probe", "--models=a b"} < set(words)
    assert words[words.index("--one") + 1] == "models/tiny/1"
