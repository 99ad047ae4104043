"""What a finished bundle is held to: each check looks at one promise and says what it found.

Everything here needs only the bundle and the runtime; `verify` runs it, and adds PyTorch where it
is asked to.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import msgspec
import onnx_ir as ir

from export.errors import ContractBroken, ExportFailed, ParityBroken
from export.graph.fused import count_fused
from export.proof import alone, contract, mates
from export.quality import texts
from server.errors import BundleCorrupt, ServeError
from server.repository.bundle import Bundle
from server.repository.contract import require_text
from server.repository.manifest import Manifest, Precision
from server.runtime import cpu
from server.runtime.session import Session, SessionConfig, require_runtime, runtime_version
from server.text.tokenizer import Tokenizer, Truncation

PROVIDER = "cpu"

ALONE: dict[Precision, float] = {
    # Kernels that sum in another order differ by about 1e-6.
    "fp32": 1e-4,
    "fp16": 1e-2,
    # A last bit that tips one rounding moves MiniLM by 0.005; one scale for a whole batch by 0.15.
    "int8": 0.1,
    "int4": 0.1,
}
"""How far an answer may move with its place in a batch, relative to its length."""


class Check(msgspec.Struct, frozen=True):
    """One promise and what became of it."""

    name: str
    result: Literal["passed", "failed", "noted"]
    """noted: something to know, neither right nor wrong."""
    found: str


@dataclass(frozen=True, slots=True)
class Opened:
    """A bundle with the session that would serve it."""

    bundle: Bundle
    session: Session
    optimized: ir.Model
    """The graph as ONNX Runtime runs it."""

    @property
    def manifest(self) -> Manifest:
        """What the bundle promises."""
        return self.bundle.manifest


@contextmanager
def opened(bundle: Bundle) -> Iterator[Opened]:
    """Open a verified bundle with the options that it is served with.

    Raises:
        BundleCorrupt: this runtime is too old for it or refuses it, or the graph has other inputs
            or outputs than the manifest says.
    """
    manifest = bundle.manifest
    options = manifest.sessions.get(PROVIDER)
    if options is None:
        raise BundleCorrupt(f"sessions has no options for provider '{PROVIDER}'")
    require_runtime(manifest.min_onnxruntime)
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / "optimized.onnx"
        config = SessionConfig(PROVIDER, 1, options.disabled_optimizers, path)
        session = Session(bundle.model_path, config)
        for kind, specs, names in (
            ("inputs", manifest.inputs, session.input_names),
            ("outputs", manifest.outputs, session.output_names),
        ):
            promised = sorted(spec.name for spec in specs)
            if promised != sorted(names):
                raise BundleCorrupt(
                    f"{kind} says {', '.join(promised)}, the graph has {', '.join(sorted(names))}"
                )
        yield Opened(bundle, session, ir.load(path))


def attempt(name: str, look: Callable[[], str]) -> Check:
    """Return what a check found; it fails by raising."""
    try:
        return Check(name, "passed", look())
    except (ExportFailed, ServeError) as error:
        return Check(name, "failed", str(error))


def checks(found: Opened) -> Iterator[Check]:
    """Yield every check that an open bundle can be put to without PyTorch."""
    yield _instruction_set(found.manifest)
    yield _runtime(found.manifest)
    yield attempt("fusion", lambda: _fusion(found))
    yield attempt("any place in a batch", lambda: _places(found))
    yield attempt("any batch-mates", lambda: _mates(found))
    if found.manifest.text is not None:
        yield attempt("tokenizer", lambda: _tokenizer(found.bundle))
    if found.manifest.explain is not None:
        yield attempt("explanation", lambda: _explanation(found.bundle))


def _instruction_set(manifest: Manifest) -> Check:
    lacks = cpu.lacking(manifest.isa)
    if not lacks:
        return Check("instruction set", "passed", f"{cpu.isa()}, as measured")
    if manifest.precision == "int8":
        meant = f"; int8 made for {manifest.isa} may saturate here, so verify it --against MODEL"
    else:
        meant = f"; times were measured on {manifest.isa}"
    return Check("instruction set", "noted", f"this CPU lacks {lacks}{meant}")


def _runtime(manifest: Manifest) -> Check:
    installed = runtime_version()
    names = ("onnxruntime", "onnxruntime-gpu")
    proven = next((manifest.card.versions[n] for n in names if n in manifest.card.versions), None)
    if installed == proven:
        return Check("ONNX Runtime", "passed", f"{installed}, as proven")
    return Check("ONNX Runtime", "noted", f"{installed}; proven with {proven or 'an unknown one'}")


def _fusion(found: Opened) -> str:
    card = found.manifest.card
    written = ir.load(found.bundle.model_path)
    # As many modules as nodes: that the two were equal was checked when both were there.
    contract.check(written, [""] * card.fused_nodes, allow_unfused=bool(card.unfused))
    contract.check_served(found.optimized, card.fused_nodes)
    running = count_fused(found.optimized)
    unfused = f", {len(card.unfused)} classes not fused as accepted" if card.unfused else ""
    if card.fused_nodes != card.attention_modules:
        raise ContractBroken(
            f"the card has {card.fused_nodes} fused nodes of {card.attention_modules} modules"
        )
    return f"{running} of {card.attention_modules} modules run as one node{unfused}"


def _places(found: Opened) -> str:
    limit = ALONE[found.manifest.precision]
    compared = list(alone.compare(found.session, found.manifest))
    # Written so that NaN fails.
    wrong = [one for one in compared if not one.difference <= limit]
    if wrong:
        cases = "; ".join(f"{one.case}: {one.difference:.2g}" for one in wrong)
        raise ParityBroken(f"answers differ from those alone by more than {limit:g}: {cases}")
    worst = max(one.difference for one in compared)
    answers = sum(one.answers for one in compared)
    return f"{answers} answers differ from those alone by at most {worst:.1e} (limit {limit:g})"


def _mates(found: Opened) -> str:
    batches = list(mates.replace_mates(found.session, found.manifest))
    answers, same = sum(one.answers for one in batches), sum(one.same for one in batches)
    if same != answers:
        raise ParityBroken(
            f"{answers - same} of {answers} answers change with what else is in the batch"
        )
    return f"{answers} answers are the same to the last bit whatever else is in the batch"


def _tokenizer(bundle: Bundle) -> str:
    _, limits = require_text(bundle.manifest)
    tokenizer = Tokenizer(bundle.tokenizer_path, limits.max_tokens)
    try:
        tokenized = tokenizer.encode_now(texts.texts(), Truncation.KEEP_START)
    finally:
        tokenizer.close()
    largest = max(max(text.ids) for text in tokenized)
    if largest >= limits.vocabulary:
        raise BundleCorrupt(f"it makes ids up to {largest}, the model knows {limits.vocabulary}")
    return f"{sum(len(text.ids) for text in tokenized)} tokens of {len(tokenized)} texts, all known"


def _explanation(bundle: Bundle) -> str:
    explain = bundle.manifest.explain
    assert explain is not None
    session = Session(bundle.path / explain.model, SessionConfig())
    promised = sorted(spec.name for spec in explain.outputs)
    if promised != sorted(session.output_names):
        raise BundleCorrupt(f"explain says {', '.join(promised)}, {explain.model} does not")
    return f"{explain.model} opens and has {', '.join(promised)}"
