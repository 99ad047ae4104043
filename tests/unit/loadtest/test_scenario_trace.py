from pathlib import Path

import pytest

from loadtest.scenario.schema import Arrival, BadScenario
from loadtest.scenario.trace import read_arrivals, read_lengths
from server.batching.arrivals import Recorder

HEAD = '{"heed_arrivals":1,"began":1700000000.5}\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "recorded"


def test_a_servers_recording_is_read(path: Path) -> None:
    path.write_text(
        HEAD + '{"t":7.5,"model":"m","lengths":[9],"priority":1,"deadline_s":null}\n'
        '{"t":5.0,"model":"m","lengths":[3,4],"priority":2,"deadline_s":1.5}\n'
    )

    # In order, and the first at 0, however long the server had been idle.
    assert read_arrivals(path) == (Arrival(0.0, (3, 4), "m"), Arrival(2.5, (9,), "m"))


@pytest.mark.parametrize("header", ["", "at_s,tokens\n", "\ufeffAt_s, tokens, tokens\n"])
def test_csv_is_read_with_a_header_or_without(path: Path, header: str) -> None:
    path.write_text(header + "10.5, 3\r\n11,4,5\n\n", encoding="utf-8")

    assert read_arrivals(path) == (Arrival(0.0, (3,)), Arrival(0.5, (4, 5)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"heed_arrivals":2,"began":1}\n', "line 1: a recording in format 2"),
        ('{"t":1,"model":"m","lengths":[3]}\n', "line 1: .*`heed_arrivals`"),
        (HEAD + '{"t":1,"lengths":[3]}\n{"t":2,"lengths":[0]}\n', r"line 3: .*>= 1.*lengths\[0\]"),
        (HEAD + '{"t":1,"lengths":[]}\n', "line 2: .*length >= 1"),
        (HEAD + '{"t":1,"lengths":[3]\n', "line 2: "),
        (HEAD, "two arrivals at different times, there are 0"),
        ("at_s,tokens\n0,3\n1,x\n", r"line 3: .*`int`"),
        ("0,3\nnan,3\n", "line 2: "),
        ("0,3\n1\n", "line 2: a line is at_s,tokens"),
        ("0,3\n1,\n", "line 2: "),
        ("0,3\n1,-4\n", "line 2: .*>= 1"),
        ("0,3\n1,2.5\n", "line 2: "),
        ("0,3\n1,9999999\n", "line 2: .*<= 1048576"),
        ("seconds,tokens\n0,3\n", "line 1: "),
        ("0,3\n0,4\n", "there are 2"),
        ("", "there are 0"),
    ],
)
def test_what_is_no_recording_is_refused_with_its_line(path: Path, text: str, said: str) -> None:
    path.write_text(text)

    with pytest.raises(BadScenario, match=f"recorded.*{said}"):
        read_arrivals(path)


def test_a_missing_or_binary_trace_is_refused(path: Path) -> None:
    with pytest.raises(BadScenario, match=r"trace .*No such file"):
        read_arrivals(path)

    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadScenario, match="not a text file"):
        read_arrivals(path)


def test_lengths_are_one_a_line(path: Path) -> None:
    path.write_text("3\n# a comment\n 17 \n")

    assert read_lengths(path) == (3, 17)


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "no lengths"), ("3\n0\n", "line 2: .*>= 1"), ("3\n4.5\n", "line 2"), ("a\n", "line 1")],
)
def test_what_is_no_length_is_refused_with_its_line(path: Path, text: str, said: str) -> None:
    path.write_text(text)

    with pytest.raises(BadScenario, match=f"recorded.*{said}"):
        read_lengths(path)


def test_what_the_server_writes_today_is_read(path: Path) -> None:
    recorder = Recorder(path)
    # More than fit into one microsecond, which is how finely it writes.
    for tokens in range(1, 201):
        recorder.record("m", [tokens, 4], 2, 1.5)
    recorder.close()

    read = read_arrivals(path)

    assert read[0].at_s == 0
    assert {arrival.model for arrival in read} == {"m"}
    assert sorted(arrival.lengths for arrival in read) == [(n, 4) for n in range(1, 201)]
