"""Open one version directory: manifest, files and digests, all verified before anything is loaded.

Touches nothing outside the directory: links of both kinds and names that leave it are refused,
because ONNX Runtime would follow a hard link to any file of the machine.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from stat import S_ISREG

from server.errors import BundleCorrupt
from server.repository import manifest as manifests
from server.repository.contract import require_complete, require_text
from server.repository.manifest import FileDigest, Manifest

MODEL_NAME = "model.onnx"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle on disk."""

    path: Path
    manifest: Manifest
    digest: str
    """SHA-256 of `bundle.json`, which holds the digests of every other file."""

    @property
    def model_path(self) -> Path:
        """The graph to load."""
        return self.path / MODEL_NAME

    @property
    def tokenizer_path(self) -> Path:
        """The tokenizer that made the ids of a text bundle."""
        text, _ = require_text(self.manifest)
        return self.path / text.tokenizer


def open_bundle(path: Path) -> Bundle:
    """Read and verify the bundle in `path` (`<repository>/<name>/<version>`).

    Raises:
        BundleCorrupt: names the file or field that is missing, changed or not honoured.
    """
    try:
        data = _regular_file(path, manifests.MANIFEST_NAME).read_bytes()
        manifest = manifests.decode(data)
        _check_identity(path, manifest)
        require_complete(manifest)
        if MODEL_NAME not in manifest.files:
            raise BundleCorrupt(f"files has no digest for {MODEL_NAME}; export the bundle again")
        for name, expected in manifest.files.items():
            _verify(path, name, expected)
    except BundleCorrupt as error:
        raise BundleCorrupt(f"{path}: {error}") from error
    except OSError as error:
        raise BundleCorrupt(f"{path}: a file cannot be read: {error}") from error
    return Bundle(path, manifest, hashlib.sha256(data).hexdigest())


def open_each(paths: Iterable[Path]) -> tuple[list[Bundle], dict[Path, str]]:
    """Open several bundles; return the sound ones, and what is wrong with each of the others."""
    bundles: list[Bundle] = []
    problems: dict[Path, str] = {}
    for path in paths:
        try:
            bundles.append(open_bundle(path))
        except BundleCorrupt as error:
            problems[path] = str(error)
    return bundles, problems


def digest_file(path: Path) -> FileDigest:
    """Return size and SHA-256 of a file, read in pieces."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
    return FileDigest(sha256=digest.hexdigest(), size_bytes=path.stat().st_size)


def _check_identity(path: Path, manifest: Manifest) -> None:
    found = (path.resolve().parent.name, path.resolve().name)
    if found != (manifest.name, str(manifest.version)):
        raise BundleCorrupt(
            f"{manifests.MANIFEST_NAME} is {manifest.name} version {manifest.version}; "
            f"it must lie in {manifest.name}/{manifest.version}"
        )


def _verify(path: Path, name: str, expected: FileDigest) -> None:
    file = _regular_file(path, name)
    size_bytes = file.stat().st_size
    if size_bytes != expected.size_bytes:
        raise BundleCorrupt(
            f"{name} has {size_bytes} bytes, {expected.size_bytes} were exported; "
            "copy or export the bundle again"
        )
    if digest_file(file) != expected:
        raise BundleCorrupt(
            f"{name} changed since the export (SHA-256 differs); copy or export the bundle again"
        )


def _regular_file(path: Path, name: str) -> Path:
    parts = PurePosixPath(name).parts
    if len(parts) != 1 or parts[0] in {"..", "/"}:
        raise BundleCorrupt(f"file name '{name}' leaves the bundle")
    file = path / name
    try:
        status = file.lstat()
    except FileNotFoundError:
        raise BundleCorrupt(f"{name} is missing; copy or export the bundle again") from None
    except OSError as error:
        raise BundleCorrupt(f"{name} cannot be read: {error.strerror}") from error
    if not S_ISREG(status.st_mode):
        raise BundleCorrupt(f"{name} is not a regular file; links are not followed")
    if status.st_nlink != 1:
        raise BundleCorrupt(f"{name} is a hard link; copy the file instead")
    return file
