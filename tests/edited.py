"""A published bundle with a planted fault, digests and all: as an unlucky export would look."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import onnx_ir as ir

from export.graph.fused import fused_nodes
from server.repository import manifest as manifests
from server.repository.bundle import MODEL_NAME, Bundle, digest_file, open_bundle
from server.repository.manifest import MANIFEST_NAME


def edited(
    bundle: Bundle,
    root: Path,
    edit: Callable[[ir.Model], object] | None = None,
    *,
    name: str | None = None,
    **fields: Any,
) -> Bundle:
    """Return a copy under `root` with another graph, name or manifest, which opens all the same."""
    name = name or bundle.manifest.name
    path = root / name / str(bundle.manifest.version)
    shutil.copytree(bundle.path, path)
    if edit is not None:
        model = ir.load(bundle.model_path)
        edit(model)
        ir.save(model, path / MODEL_NAME)
    files = {file: digest_file(path / file) for file in bundle.manifest.files}
    changed = msgspec.structs.replace(bundle.manifest, name=name, files=files, **fields)
    (path / MANIFEST_NAME).write_bytes(manifests.encode(changed))
    return open_bundle(path)


def double_scale(model: ir.Model, index: int) -> str:
    """Plant a wrong scale in one fused attention and return the node's name."""
    node = list(fused_nodes(model))[index]
    scale = node.attributes["scale"].as_float()
    node.attributes["scale"] = ir.AttrFloat32("scale", 2 * scale)
    return str(node.name)


def replace_output(
    model: ir.Model, change: Callable[[ir.Value], ir.Value], shape: ir.Shape | None = None
) -> None:
    """Put something behind the only output of a graph, under the output's name."""
    (output,) = model.graph.outputs
    changed = change(output)
    changed.name, output.name = output.name, f"{output.name}.before"
    changed.type, changed.shape = output.type, shape or output.shape
    model.graph.outputs[:] = [changed]
