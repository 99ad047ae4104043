"""What was measured best for one bundle on one kind of hardware: a small file for each.

Reading is strict, and a file that is damaged or about something else counts as none: a server must
not fail, nor run on numbers of another machine, because of a cache.
"""

import hashlib
import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from server.errors import ConfigInvalid
from server.repository.manifest import Count, Positive, Record, Sha256

log = logging.getLogger(__name__)

Seconds = Annotated[float, msgspec.Meta(ge=0)]


@dataclass(frozen=True, slots=True)
class TuningKey:
    """What a measurement holds for."""

    digest: str
    """Of the bundle."""
    hardware: str
    onnxruntime: str

    @property
    def file_name(self) -> str:
        """Where it lies in the directory."""
        text = f"{self.digest}\n{self.hardware}\n{self.onnxruntime}"
        return f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


class MeasuredCost(Record, frozen=True):
    """Coefficients of the cost model, as `server.batching.cost` names them."""

    run_s: Seconds
    row_s: Seconds
    token_s: Seconds
    pair_s: Seconds
    segment_s: Seconds


class Tuned(Record, frozen=True):
    """How to run a bundle, and what it reached that way."""

    schema_version: Literal[1]
    digest: Sha256
    hardware: str
    onnxruntime: str
    num_threads: Positive
    """Runs at the same time."""
    intra_op_threads: Positive
    spin: bool
    max_batch_tokens: Positive
    cost: MeasuredCost
    texts_per_s: Seconds
    single_ms: Seconds
    """One text by itself, with these settings."""
    tuned_at: str
    seconds: Count
    """Spent on it."""


def read(directory: str, key: TuningKey) -> Tuned | None:
    """Return what was measured, None where nothing usable was."""
    if not directory:
        return None
    path = Path(directory).expanduser() / key.file_name
    try:
        tuned = msgspec.json.decode(path.read_bytes(), type=Tuned)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        _warn(path, str(error))
        return None
    if (tuned.digest, tuned.hardware, tuned.onnxruntime) != (
        key.digest, key.hardware, key.onnxruntime,
    ):  # fmt: skip
        _warn(path, "it is about another bundle, machine or ONNX Runtime")
        return None
    return tuned


def write(directory: str, tuned: Tuned) -> Path:
    """Replace what was measured before, at once or not at all, and return the file.

    Raises:
        ConfigInvalid: the directory cannot be written.
    """
    key = TuningKey(tuned.digest, tuned.hardware, tuned.onnxruntime)
    path = Path(directory).expanduser() / key.file_name
    data = msgspec.json.format(msgspec.json.encode(tuned), indent=2) + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as staged:
            staged.write(data)
        try:
            os.replace(staged.name, path)  # noqa: PTH105  (the name is a string)
        except OSError:
            os.unlink(staged.name)  # noqa: PTH108  (as above)
            raise
    except OSError as error:
        raise ConfigInvalid(f"--tuning {directory}: {error.strerror}") from error
    return path


def _warn(path: Path, reason: str) -> None:
    log.warning(
        "a tuning file was ignored; run heed-serve tune again",
        extra={"path": str(path), "reason": reason},
    )
