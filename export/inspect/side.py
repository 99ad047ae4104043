"""One of two bundles that are compared: what it says of itself, and what it answers."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from export.errors import EvalFileInvalid
from export.evaluation.answer import Answer, ask, require_finite
from export.evaluation.tokenizer import Tokenizer
from export.proof import alone, batches
from export.proof.case import Array, Feeds
from export.quality import texts
from server.errors import BundleCorrupt
from server.repository.bundle import Bundle, open_bundle
from server.repository.contract import TOKEN_TYPES
from server.repository.manifest import Manifest
from server.runtime.session import Session, SessionConfig, require_runtime

Pair = tuple[str, str | None]

PROVIDER = "cpu"
_PAIRED = frozenset({"rerank", "question-answer"})
"""Tasks that make nothing of a single text."""

_ROWS = 16
"""Inputs of noise for a bundle that takes raw tensors."""


class Facts(msgspec.Struct, frozen=True):
    """What a bundle says of itself."""

    bundle: str
    digest: str
    source: str
    task: str
    family: str
    precision: str
    isa: str
    size_bytes: int
    """Of all files that a server reads."""
    fused: str
    form: str
    kept_float: int
    """Layers."""
    parity: float
    """Worst difference to PyTorch over its tolerance: 1 is the limit."""
    max_batch_tokens: int
    onnxruntime: str
    exported_at: str


@dataclass(frozen=True, slots=True)
class Side:
    """A bundle, open as it is served."""

    bundle: Bundle
    session: Session

    @classmethod
    def open(cls, path: Path) -> "Side":
        """Verify a bundle and open its session.

        Raises:
            BundleCorrupt: the bundle is damaged, or this runtime cannot run it.
        """
        bundle = open_bundle(path)
        require_runtime(bundle.manifest.min_onnxruntime)
        return cls(
            bundle, Session(bundle.model_path, SessionConfig(PROVIDER, 1, _disabled(bundle)))
        )

    @property
    def manifest(self) -> Manifest:
        """What the bundle promises."""
        return self.bundle.manifest

    @property
    def disabled_optimizers(self) -> tuple[str, ...]:
        """Part of how it is served."""
        return _disabled(self.bundle)

    def facts(self) -> Facts:
        """Return what the manifest and its card say."""
        manifest, card = self.manifest, self.manifest.card
        return Facts(
            bundle=f"{manifest.name}/{manifest.version}",
            digest=self.bundle.digest,
            source=card.source,
            task=manifest.task,
            family=manifest.family,
            precision=manifest.precision,
            isa=manifest.isa,
            size_bytes=sum(file.size_bytes for file in manifest.files.values()),
            fused=f"{card.fused_nodes} {card.fused_op}".strip(),
            form=", ".join(card.layout) or "as traced",
            kept_float=len(card.kept_float),
            parity=max((one.difference / one.tolerance for one in card.parity), default=0.0),
            max_batch_tokens=manifest.sessions[PROVIDER].max_batch_tokens,
            onnxruntime=card.versions.get("onnxruntime", ""),
            exported_at=card.exported_at,
        )

    def answers(self, asked: Sequence[Pair]) -> Iterator[Answer]:
        """Yield the answer to each text alone; texts beyond the limit are cut at the end.

        Raises:
            ParityBroken: an answer is not numbers.
            RunFailed: ONNX Runtime reports an error.
        """
        for number, feeds in enumerate(self._feeds(asked), start=1):
            answer = ask(self.session, feeds)
            require_finite(str(self.bundle.path), f"input {number}", answer)
            yield answer

    def _feeds(self, asked: Sequence[Pair]) -> Iterable[Feeds]:
        if self.manifest.text is None:
            return _rows(alone.rows_of(self.manifest, _ROWS))
        return self._tokenized(asked)

    def _tokenized(self, asked: Sequence[Pair]) -> Iterator[Feeds]:
        text = alone.text_of(self.manifest)
        tokenizer = Tokenizer(
            self.bundle.tokenizer_path, text.max_tokens, has_types=has_types(self.manifest)
        )
        for number, (first, second) in enumerate(asked, start=1):
            sequence = tokenizer.ids(tokenizer.text(first, second))
            if not sequence.ids.size:
                raise EvalFileInvalid(f"text {number} has no tokens; leave it out")
            if text.mask_id is not None:
                sequence.ids[len(sequence.ids) // 2] = text.mask_id
            yield batches.alone(text, sequence).feeds


def has_types(manifest: Manifest) -> bool:
    """Whether a bundle tells the texts of a pair apart."""
    return any(spec.name == TOKEN_TYPES for spec in manifest.inputs)


def built_in(manifest: Manifest) -> tuple[Pair, ...]:
    """Return the built-in texts, as pairs where the task takes two."""
    if manifest.task in _PAIRED:
        return texts.pairs()
    return tuple((text, None) for text in texts.texts())


def read_texts(path: Path, manifest: Manifest) -> tuple[Pair, ...]:
    """Return the lines of a file; a tab parts the two texts of a pair.

    Raises:
        EvalFileInvalid: names the line that is not what the task takes.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise EvalFileInvalid(f"{path} is not UTF-8: {error}") from error
    asked = []
    for number, line in enumerate(lines, start=1):
        first, tab, second = line.partition("\t")
        if not first.strip() or bool(tab) != (manifest.task in _PAIRED):
            needed = "two texts with a tab between" if manifest.task in _PAIRED else "one text"
            raise EvalFileInvalid(f"{path} line {number}: task {manifest.task} takes {needed}")
        asked.append((first, second if tab else None))
    if len(asked) < 2:  # noqa: PLR2004 - one text makes no pair
        raise EvalFileInvalid(f"{path} has {len(asked)} texts; at least 2 can be compared")
    return tuple(asked)


def _rows(feeds: Mapping[str, Array]) -> Iterator[Feeds]:
    for row in range(_ROWS):
        yield {name: np.ascontiguousarray(part[row : row + 1]) for name, part in feeds.items()}


def _disabled(bundle: Bundle) -> tuple[str, ...]:
    options = bundle.manifest.sessions.get(PROVIDER)
    if options is None:
        raise BundleCorrupt(f"{bundle.path}: sessions has no options for provider '{PROVIDER}'")
    return options.disabled_optimizers
