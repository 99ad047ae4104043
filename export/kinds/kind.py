"""What the pipeline asks of a kind of model: text by tokens, or raw tensors.

A kind knows how a loaded checkpoint is traced, which batches prove it, and what its bundle
promises. It decides nothing about precision, speed or files.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from export.convert import Converted
from export.proof.case import Case
from server.repository.manifest import Labels, Limits, Pooling, TensorSpec, TextFiles


@dataclass(frozen=True, slots=True)
class Interface:
    """The part of the manifest that follows from the model and its task."""

    family: str
    hidden_size: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    limits: Limits | None = None
    text: TextFiles | None = None
    pooling: Pooling | None = None
    labels: Labels | None = None
    processor: str | None = None

    @property
    def is_packed(self) -> bool:
        """Rows may hold several sequences."""
        return self.text is not None


class Kind(Protocol):
    """A loaded checkpoint, ready to be traced and asked."""

    @property
    def interface(self) -> Interface:
        """What the bundle promises; complete once `convert` has run."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader of the report should know about choices made."""

    def save_files(self, target: Path) -> None:
        """Write tokenizer or processor settings into the bundle."""

    def convert(self) -> Converted:
        """Return the whole graph, head included, with one fused node for each attention."""

    def cases(self) -> tuple[Case, ...]:
        """Return the batches of the proof with PyTorch's answers."""

    def samples(self, most: int) -> tuple[Case, ...]:
        """Return up to `most` natural inputs with PyTorch's answers, one to a case."""
