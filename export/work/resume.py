"""Keep what tracing found in a directory of its own, so that a later export starts behind it.

A marker file is written last and by one rename, so a directory that was half written is never
taken for a whole one. It carries a fingerprint of everything that the trace depends on; where that
differs, the trace simply runs again.
"""

import fcntl
import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from export.errors import ExportFailed
from export.traced import Traced
from export.work import evaluated
from export.workspace import Workspace

_MARKER = "resume.json"
_ARRAYS = "answers.npz"
_EVALUATION = "evaluation.pickle"
_FILES = "files"
"""Directory of what the trace put into the bundle: tokenizer, processor."""

Arrays = list[NDArray[Any]]


class _Head(msgspec.Struct):
    """What is read before anything else is believed."""

    fingerprint: str
    sizes: dict[str, int]
    """Bytes of every file that belongs to the trace."""


class _Marker(_Head):
    traced: Traced
    """Without the evaluation; an array is its number in the archive."""


@contextmanager
def held(directory: Path) -> Iterator[Workspace]:
    """Yield the workspace in a directory, for this process alone.

    Raises:
        ExportFailed: another export works there.
    """
    workspace = Workspace(directory)
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ExportFailed(
                f"another export works in {directory}; wait for it or pass another --work"
            ) from error
        yield workspace
    finally:
        os.close(descriptor)


def load(workspace: Workspace, fingerprint: str, files: Path) -> Traced | None:
    """Return what an earlier export of the same fingerprint traced, and put its files into `files`.

    Without one the directory is declared empty, so that what is written next cannot be mistaken for
    a part of what was there.
    """
    root = workspace.directory
    try:
        data = (root / _MARKER).read_bytes()
        head = msgspec.json.decode(data, type=_Head)
        if head.fingerprint == fingerprint and head.sizes == _sizes(root):
            traced = _read(root, data)
            shutil.copytree(root / _FILES, files, dirs_exist_ok=True)
            return traced
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, msgspec.MsgspecError):
        # Nothing there, or not what was written: as good as nothing.
        pass
    (root / _MARKER).unlink(missing_ok=True)
    return None


def save(workspace: Workspace, fingerprint: str, traced: Traced, files: Path) -> None:
    """Keep a trace whose graph is in the workspace, and the files it put into the bundle."""
    root = workspace.directory
    arrays: Arrays = []

    def keep(value: object) -> int:
        if not isinstance(value, np.ndarray):
            raise NotImplementedError(type(value))
        arrays.append(value)
        return len(arrays) - 1

    plain = msgspec.json.encode(replace(traced, evaluation=None), enc_hook=keep)
    np.savez(root / _ARRAYS, allow_pickle=False, **{str(i): a for i, a in enumerate(arrays)})
    (root / _EVALUATION).write_bytes(evaluated.encode(traced.evaluation))
    shutil.rmtree(root / _FILES, ignore_errors=True)
    shutil.copytree(files, root / _FILES)
    marker = {"fingerprint": fingerprint, "sizes": _sizes(root), "traced": msgspec.Raw(plain)}
    written = root / f"{_MARKER}.part"
    written.write_bytes(msgspec.json.encode(marker))
    written.replace(root / _MARKER)


def _read(root: Path, data: bytes) -> Traced:
    with np.load(root / _ARRAYS, allow_pickle=False) as archive:
        arrays: dict[int, NDArray[Any]] = {int(name): archive[name] for name in archive.files}

    def look_up(_: type, number: int) -> NDArray[Any]:
        return arrays[number]

    marker = msgspec.json.decode(data, type=_Marker, dec_hook=look_up)
    evaluation = evaluated.decode((root / _EVALUATION).read_bytes())
    return replace(marker.traced, evaluation=evaluation)


def _sizes(root: Path) -> dict[str, int]:
    """Return the size of everything that `save` and the trace write, by name."""
    found = [*root.glob("traced.onnx*"), root / _ARRAYS, root / _EVALUATION]
    found += [file for file in (root / _FILES).rglob("*") if file.is_file()]
    return {str(file.relative_to(root)): file.stat().st_size for file in sorted(found)}
