"""What every task's evaluation is: inputs to ask, answers to read, decisions to compare.

An evaluation knows neither PyTorch nor ONNX Runtime; the answers of both are read alike.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from export.evaluation.answer import Answer
from export.evaluation.inputs import Input
from export.evaluation.tokenizer import Tokenizer
from export.quality.examples import EvalFile
from server.repository.manifest import Labels

if TYPE_CHECKING:
    # Brings SciPy and scikit-learn: two seconds that an export without an evaluation need not take.
    from export.quality.compare import Comparison

Decided = TypeVar("Decided")


@dataclass(frozen=True, slots=True)
class Subject:
    """What an evaluation needs to know of the model."""

    tokenizer: Tokenizer
    labels: Labels | None = None
    mask_id: int | None = None


@dataclass(frozen=True)
class Evaluation(ABC, Generic[Decided]):
    """One file put to one model. Plain values: can be pickled and outlives the model."""

    file: EvalFile
    inputs: tuple[Input, ...]
    notes: tuple[str, ...]
    """What the reader of the figures should know."""

    @abstractmethod
    def read(self, answers: Iterable[Answer]) -> Decided:
        """Return what the measures need of the answers to `inputs`, which come in order.

        Answers may be large and are to be dropped as they come.
        """

    @abstractmethod
    def compare(self, reference: Decided, bundle: Decided) -> "tuple[Comparison, ...]":
        """Return the measures of PyTorch and the bundle."""
