"""Publishing: whole or not at all, and never without being asked over what is there."""

import subprocess
import sys
from pathlib import Path

import onnx.parser
import onnx_ir as ir
import pytest
from bundles import manifest

from export import publish as publishing
from export.errors import VersionExists
from export.publish import publish, require_free, stage, write_model
from server.errors import BundleCorrupt
from server.repository.bundle import Bundle, open_bundle

PROMISED = manifest("tiny", 1)


def copy_model() -> ir.Model:
    """The smallest graph there is."""
    proto = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 20]>
        copy (float[rows] x) => (float[rows] y) { y = Identity (x) }"""
    )
    return ir.from_proto(proto)


def export(out: Path, *, force: bool = False, tokenizer: str = "{}") -> Bundle:
    with stage(out, "tiny", 1, force=force) as staged:
        write_model(copy_model(), staged.directory)
        (staged.directory / "tokenizer.json").write_text(tokenizer)
        (staged.directory / "report.md").write_text("for people")
        return publish(staged, PROMISED)


def test_a_published_version_opens_as_a_server_opens_it(tmp_path: Path) -> None:
    bundle = export(tmp_path)
    assert bundle.path == tmp_path / "tiny" / "1"
    assert open_bundle(bundle.path).digest == bundle.digest


def test_reports_lie_beside_the_digests(tmp_path: Path) -> None:
    bundle = export(tmp_path)
    assert set(bundle.manifest.files) == {"model.onnx", "tokenizer.json"}
    assert (bundle.path / "report.md").is_file()


def test_nothing_but_the_version_is_left_behind(tmp_path: Path) -> None:
    export(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
    assert [path.name for path in (tmp_path / "tiny").iterdir()] == ["1"]


def test_an_existing_version_is_kept(tmp_path: Path) -> None:
    first = export(tmp_path)
    with pytest.raises(VersionExists, match="--force"):
        require_free(tmp_path, "tiny", 1, force=False)
    with pytest.raises(VersionExists, match="--force"):
        export(tmp_path, tokenizer="[]")
    assert open_bundle(first.path).digest == first.digest


def test_force_replaces_the_version(tmp_path: Path) -> None:
    first = export(tmp_path)
    second = export(tmp_path, force=True, tokenizer="[]")
    assert second.digest != first.digest
    assert open_bundle(second.path).digest == second.digest
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_a_bundle_that_the_server_would_refuse_is_not_published(tmp_path: Path) -> None:
    with stage(tmp_path, "tiny", 1) as staged:
        write_model(copy_model(), staged.directory)
        with pytest.raises(BundleCorrupt, match=r"tokenizer\.json"):
            publish(staged, PROMISED)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "limit_bytes", "is_external"),
    [("always", 10**9, True), ("auto", 3999, True), ("auto", 4000, False)],
)
def test_large_weights_go_into_their_own_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    option: publishing.ExternalData,
    limit_bytes: int,
    is_external: bool,  # noqa: FBT001 - a parameter of the table above
) -> None:
    monkeypatch.setattr(publishing, "MAX_SINGLE_FILE_BYTES", limit_bytes)
    model = copy_model()
    weights = ir.tensor([0.5] * 1000, name="weights")
    model.graph.register_initializer(ir.val("weights", const_value=weights))
    write_model(model, tmp_path, option)
    assert (tmp_path / "model.onnx.data").exists() == is_external
    assert ((tmp_path / "model.onnx").stat().st_size < 4000) == is_external


def test_heads_and_publishing_work_without_torch() -> None:
    code = "import sys, export.publish, export.graph.heads; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
