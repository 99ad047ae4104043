"""One number for everything that a trace depends on: checkpoint, task, options, and the code.

Two equal fingerprints mean the same graph and the same answers of PyTorch. Contents count, not
dates: a checkpoint that was copied is the same checkpoint.
"""

import hashlib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import msgspec

from export.locate import Checkpoint
from export.traced import TraceOptions
from server.repository.bundle import digest_file
from server.repository.manifest import Task

_SUFFIXES = (".json", ".model", ".safetensors", ".txt")
"""Of the files that an export may read."""

_DISTRIBUTIONS = (
    "heed",
    "numpy",
    "onnx-ir",
    "onnxscript",
    "optimum",
    "tokenizers",
    "torch",
    "transformers",
)


def fingerprint(checkpoint: Checkpoint, task: Task, options: TraceOptions) -> str:
    """Return the fingerprint of a trace, SHA-256 in hexadecimal digits.

    Weights are read whole: fine-tuned models differ from each other in the middle of files of equal
    size. It takes a second for each gigabyte or two, which loading them takes many times.
    """
    facts = {
        "checkpoint": _digests(_read_files(checkpoint.directory), checkpoint.directory),
        "task": task,
        "options": options,
        "code": _digests(sorted(Path(__file__).parent.rglob("*.py")), Path(__file__).parent),
        "versions": {name: metadata.version(name) for name in _DISTRIBUTIONS},
    }
    return hashlib.sha256(msgspec.json.encode(facts, enc_hook=_plain)).hexdigest()


def _read_files(directory: Path) -> Iterator[Path]:
    """Yield what lies in a checkpoint and one level below, where pooling and layers are."""
    for file in sorted([*directory.glob("*"), *directory.glob("*/*")]):
        visible = not any(part.startswith(".") for part in file.relative_to(directory).parts)
        if visible and file.suffix in _SUFFIXES and file.is_file():
            yield file


def _digests(files: Iterator[Path] | list[Path], root: Path) -> dict[str, str]:
    return {str(file.relative_to(root)): digest_file(file).sha256 for file in files}


def _plain(value: object) -> object:
    if not isinstance(value, Path):
        raise NotImplementedError(type(value))
    return [str(value), digest_file(value).sha256 if value.is_file() else None]
