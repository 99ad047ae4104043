"""What a bundle may ask of ONNX Runtime and of the CPU."""

import platform
from pathlib import Path

import pytest

from server.errors import BundleCorrupt
from server.runtime.cpu import cpu_flags, isa, lacking
from server.runtime.session import require_runtime, runtime_version


@pytest.mark.parametrize("minimum", ["1.0", "1.31", "1.31.0.dev5", runtime_version()])
def test_runtime_that_is_new_enough_is_taken(minimum: str) -> None:
    require_runtime(minimum)


@pytest.mark.parametrize(
    ("minimum", "hint"),
    [
        ("99.0", "min_onnxruntime is 99.0, installed is"),
        (f"{runtime_version()}.1", "install a newer"),
        ("new", "'new' is no version"),
    ],
)
def test_older_runtime_is_refused(minimum: str, hint: str) -> None:
    with pytest.raises(BundleCorrupt, match=hint):
        require_runtime(minimum)


def test_flags_are_read_where_the_system_tells(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor : 0\nflags\t\t: fpu avx2 avx512_vnni\n")

    assert cpu_flags(tmp_path / "cpuinfo") == {"avx2", "avx512_vnni"}
    assert cpu_flags(tmp_path / "missing") == set()


def test_own_instruction_set_is_not_lacking() -> None:
    assert isa().split()[0] == platform.machine()
    assert lacking(isa()) == ""


def test_foreign_instruction_set_is_named() -> None:
    assert lacking(f"{platform.machine()} avx1024_vnni") == "avx1024_vnni"
