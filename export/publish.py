"""Make a version directory appear in the repository, whole or not at all.

Files are written into a staging directory on the same file system, digested, opened once the way a
server will open them, and renamed into place. Knows nothing of torch or of how the graph was made.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import onnx_ir as ir

from export.errors import VersionExists
from server.repository.bundle import MODEL_NAME, Bundle, digest_file, open_bundle
from server.repository.manifest import MANIFEST_NAME, Manifest, encode

ExternalData = Literal["auto", "always"]

WEIGHTS_NAME = f"{MODEL_NAME}.data"
MAX_SINGLE_FILE_BYTES = 500_000_000
"""A protobuf ends at 2 GiB, and long before that its copies while it is written are a burden."""

REPORT_NAMES = frozenset({"report.json", "report.md"})
"""For people. Outside the digests, so that notes may be added to a report."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A version directory in the making. `directory` already has its final two names."""

    directory: Path
    scratch: Path
    """For files that are not published; on the same file system and as short-lived."""
    target: Path
    force: bool


def require_free(out: Path, name: str, version: int, *, force: bool) -> None:
    """Check that the version may be written, before any slow step.

    Raises:
        VersionExists: it is there already and `force` is not set.
    """
    target = out / name / str(version)
    if target.exists() and not force:
        raise _exists(target)


@contextmanager
def stage(out: Path, name: str, version: int, *, force: bool = False) -> Iterator[Stage]:
    """Yield an empty directory to write the bundle into; whatever is left of it is removed."""
    out.mkdir(parents=True, exist_ok=True)
    # The leading dot keeps it from being taken for a model.
    with tempfile.TemporaryDirectory(prefix=".export-", dir=out) as root:
        directory = Path(root) / name / str(version)
        directory.mkdir(parents=True)
        yield Stage(directory, Path(root) / "scratch", out / name / str(version), force)


def write_model(model: ir.Model, directory: Path, external_data: ExternalData = "auto") -> None:
    """Write the graph, with its weights inside or in `model.onnx.data` beside it."""
    size_bytes = sum(
        value.const_value.nbytes
        for value in model.graph.initializers.values()
        if value.const_value is not None
    )
    external = external_data == "always" or (
        external_data == "auto" and size_bytes > MAX_SINGLE_FILE_BYTES
    )
    if not external:
        # What lies in another file would stay there.
        ir.external_data.load_to_model(model)
    ir.save(model, directory / MODEL_NAME, external_data=WEIGHTS_NAME if external else None)


def publish(staged: Stage, manifest: Manifest) -> Bundle:
    """Add digests and manifest, verify as a server would, and move the version into place.

    `manifest.files` is filled here. With `force` the previous version is moved away first, so for
    one instant there is none.

    Raises:
        BundleCorrupt: the server would refuse what was written.
        VersionExists: another export published the version meanwhile.
    """
    files = {
        file.name: digest_file(file)
        for file in sorted(staged.directory.iterdir())
        if file.name not in REPORT_NAMES
    }
    complete = msgspec.structs.replace(manifest, files=files)
    (staged.directory / MANIFEST_NAME).write_bytes(encode(complete))
    verified = open_bundle(staged.directory)
    staged.target.parent.mkdir(exist_ok=True)
    if staged.force and staged.target.exists():
        shutil.move(staged.target, staged.directory.parent.parent / "replaced")
    try:
        staged.directory.rename(staged.target)
    except OSError as error:
        if staged.target.exists():
            raise _exists(staged.target) from error
        raise
    return Bundle(staged.target, verified.manifest, verified.digest)


def _exists(target: Path) -> VersionExists:
    return VersionExists(
        f"{target} exists already; choose another --version or replace it with --force"
    )
