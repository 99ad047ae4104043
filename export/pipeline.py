"""The steps of an export, in order: find, load, trace, prove, publish.

Owns nothing but the order and when the checkpoint's memory is given back: PyTorch answers the
parity batches first, the graph borrows its weights until they are on disk, and ONNX Runtime opens
the file after both are gone. Everything that fails, fails before a bundle exists.
"""

import gc
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import msgspec
import onnx_ir as ir

from export import card, convert, describe, load, publish, sentence, tokenizer
from export.describe import Facts
from export.errors import ExportFailed
from export.graph import heads
from export.graph.fold import fold
from export.graph.heads import Head
from export.load import Encoder
from export.locate import Checkpoint, locate
from export.progress import Progress
from export.proof import batches, contract, parity
from export.publish import ExternalData, Stage
from export.report import Report
from export.sentence import Recipe
from server.repository import manifest as manifests
from server.repository.bundle import MODEL_NAME, Bundle
from server.runtime.session import Session, SessionConfig, runtime_version


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for."""

    model: str
    task: Literal["embed"] = "embed"
    name: str | None = None
    version: int = 1
    out: Path = Path("models")
    force: bool = False
    external_data: ExternalData = "auto"


@dataclass(frozen=True, slots=True)
class _Proof:
    """What the PyTorch model answered, kept when the model itself is gone."""

    batches: tuple[batches.Batch, ...]
    expected: tuple[parity.Vectors, ...]


@dataclass(frozen=True, slots=True)
class _Written:
    """What is left of the model once its graph is on disk."""

    facts: Facts
    attention_modules: int
    fused_nodes: int
    proof: _Proof


def run(request: Request, progress: Progress) -> tuple[Bundle, Report]:
    """Export one checkpoint and return the published bundle with its report.

    Raises:
        ExportFailed: the checkpoint, the contract or parity; nothing was published.
        ServeError: the runtime refuses the file; nothing was published.
    """
    # A download draws its own progress bars.
    with progress.step("find checkpoint", spinner=False):
        checkpoint = locate(request.model)
        name = _bundle_name(request.name or checkpoint.name)
        publish.require_free(request.out, name, request.version, force=request.force)
        recipe = sentence.read(checkpoint.directory)
    with publish.stage(request.out, name, request.version, force=request.force) as staged:
        written = _write(request, checkpoint, recipe, staged, progress)
        # The traced program refers to itself and would keep the weights beside the session's.
        gc.collect()
        with progress.step("compare with PyTorch"):
            session = _open_as_served(staged, written.attention_modules)
            proven = parity.compare(session, written.proof.batches, written.proof.expected)
        manifest = describe.build_manifest(
            written.facts,
            name=name,
            version=request.version,
            isa=card.isa(),
            opset=convert.OPSET,
            min_onnxruntime=runtime_version(),
            card=card.build_card(
                source=checkpoint.source,
                attention_modules=written.attention_modules,
                fused_nodes=written.fused_nodes,
                parity=proven,
            ),
        )
        report = Report(manifest, progress.durations_s, recipe.notes)
        report.write(staged.directory)
        with progress.step("publish"):
            bundle = publish.publish(staged, manifest)
    return bundle, report


def _write(
    request: Request, checkpoint: Checkpoint, recipe: Recipe, staged: Stage, progress: Progress
) -> _Written:
    """Write graph and tokenizer; the checkpoint's memory ends with this function."""
    with progress.step("load weights"):
        encoder = load.load(checkpoint.directory, request.task)
        facts = _facts(encoder, recipe)
        tokenizer.check_tokenizer(
            tokenizer.save_tokenizer(checkpoint.directory, staged.directory),
            vocabulary=facts.vocabulary,
            max_tokens=facts.max_tokens,
            lowercases=recipe.lowercases,
        )
    with progress.step("run PyTorch"):
        proof = _reference(encoder, facts)
    with progress.step("trace and fuse"):
        converted = convert.convert(encoder)
        fold(converted.model)
        heads.add_sentence_embedding(converted.model, facts.head)
        fused_nodes = contract.check(converted.model, converted.attention_modules)
    with progress.step("write model"):
        publish.write_model(converted.model, staged.directory, request.external_data)
    return _Written(facts, converted.attention_modules, fused_nodes, proof)


def _facts(encoder: Encoder, recipe: Recipe) -> Facts:
    return Facts(
        family=encoder.family,
        hidden_size=encoder.hidden_size,
        vocabulary=encoder.vocabulary,
        max_position=encoder.max_position,
        position_offset=encoder.position_offset,
        pad_id=encoder.pad_id,
        max_tokens=describe.max_tokens(
            recipe.max_tokens, encoder.max_position, encoder.position_offset
        ),
        head=Head(recipe.mode, normalize=recipe.normalize, dimensions=encoder.hidden_size),
    )


def _reference(encoder: Encoder, facts: Facts) -> _Proof:
    text = batches.Text(facts.vocabulary, facts.pad_id, facts.position_offset, facts.max_tokens)
    cases = tuple(batches.batches(text))
    expected = tuple(
        parity.reference(encoder.module, facts.head, batch.sequences) for batch in cases
    )
    return _Proof(cases, expected)


def _open_as_served(staged: Stage, attention_modules: int) -> Session:
    """Open the session with the options it will be served with, and count what it really runs."""
    disabled = describe.SESSIONS["cpu"].disabled_optimizers
    with TemporaryDirectory(dir=staged.directory.parent) as scratch:
        optimized = Path(scratch) / "optimized.onnx"
        session = Session(
            staged.directory / MODEL_NAME,
            SessionConfig(disabled_optimizers=disabled, optimized_model_path=optimized),
        )
        contract.check_served(ir.load(optimized), attention_modules)
    return session


def _bundle_name(name: str) -> str:
    try:
        return msgspec.convert(name, manifests.Name)
    except msgspec.ValidationError as error:
        raise ExportFailed(
            f"'{name}' cannot be the name of a bundle; pass --name of letters, digits, . _ -"
        ) from error
