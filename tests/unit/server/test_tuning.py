"""Files of what was tuned: strict to read, whole or not there, and never in the server's way."""

import json
import logging
from pathlib import Path

import msgspec
import pytest

from server.errors import ConfigInvalid
from server.repository import tuning
from server.repository.tuning import MeasuredCost, Tuned, TuningKey
from server.runtime.hardware import identity

KEY = TuningKey("0" * 64, "a machine", "1.31.1")
TUNED = Tuned(
    schema_version=1,
    digest=KEY.digest,
    hardware=KEY.hardware,
    onnxruntime=KEY.onnxruntime,
    num_threads=2,
    intra_op_threads=1,
    spin=False,
    max_batch_tokens=512,
    cost=MeasuredCost(0.004, 0.0, 0.0001, 1e-7, 0.0),
    texts_per_s=190.0,
    single_ms=4.5,
    tuned_at="2026-01-01T00:00:00+00:00",
    seconds=60,
)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tuning.write(str(tmp_path / "new"), TUNED)

    assert tuning.read(str(tmp_path / "new"), KEY) == TUNED
    assert [path] == list(path.parent.iterdir())


def test_nothing_is_read_where_nothing_was_written(tmp_path: Path) -> None:
    assert tuning.read(str(tmp_path), KEY) is None
    assert tuning.read("", KEY) is None


@pytest.mark.parametrize(
    "other",
    [
        ("1" * 64, KEY.hardware, KEY.onnxruntime),
        (KEY.digest, "another", KEY.onnxruntime),
        (KEY.digest, KEY.hardware, "2"),
    ],
)
def test_another_bundle_machine_or_runtime_has_a_file_of_its_own(
    tmp_path: Path, other: tuple[str, str, str]
) -> None:
    tuning.write(str(tmp_path), TUNED)

    assert tuning.read(str(tmp_path), TuningKey(*other)) is None


def damaged() -> list[bytes]:
    sound = json.loads(msgspec.json.encode(TUNED))
    changed = [
        {**sound, "schema_version": 2},
        {**sound, "num_threads": 0},
        {**sound, "unknown": 1},
        {**sound, "hardware": "another machine"},
        {name: value for name, value in sound.items() if name != "cost"},
    ]
    return [b"", b"\xff\x00", b"[]", *(json.dumps(one).encode() for one in changed)]


@pytest.mark.parametrize("data", damaged())
def test_damaged_file_counts_as_none_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    (tmp_path / KEY.file_name).write_bytes(data)

    with caplog.at_level(logging.WARNING):
        assert tuning.read(str(tmp_path), KEY) is None

    assert [record.message for record in caplog.records] == [
        "a tuning file was ignored; run heed-serve tune again"
    ]


def test_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigInvalid, match="--tuning"):
        tuning.write(str(tmp_path / "file"), TUNED)


CPUINFO = "processor : 0\nmodel name\t: A CPU\nflags\t\t: avx2 sse\n\nprocessor : 1\nflags : none\n"


def test_hardware_is_cpu_cores_and_flags_in_any_order(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(CPUINFO)
    (tmp_path / "b").write_text(CPUINFO.replace("avx2 sse", "sse avx2"))
    (tmp_path / "c").write_text(CPUINFO.replace("avx2 sse", "sse"))
    a, b, c = (identity("cpu", 2, cpuinfo=tmp_path / name) for name in "abc")

    assert "A CPU, 2 cores" in a
    assert a == b
    assert a != c
    assert a != identity("cpu", 4, cpuinfo=tmp_path / "a")


def test_hardware_of_cuda_names_the_gpus(tmp_path: Path) -> None:
    (tmp_path / "gpus" / "0").mkdir(parents=True)
    (tmp_path / "gpus" / "0" / "information").write_text("Model: \t\t A GPU\nIRQ: 7\n")

    assert identity("cuda", 2, gpus=tmp_path / "gpus").endswith("cuda on A GPU")
    assert identity("cuda", 2, gpus=tmp_path / "none").endswith("cuda on unknown")


def test_hardware_has_a_name_where_the_system_does_not_tell(tmp_path: Path) -> None:
    assert identity("cpu", 2, cpuinfo=tmp_path / "missing")
