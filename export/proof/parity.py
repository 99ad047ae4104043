"""Parity: the session as it will be served against the PyTorch model it came from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from export.errors import ParityBroken
from export.proof.case import Case
from server.repository.manifest import Parity, Precision
from server.runtime.session import Session

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a bundle may be from PyTorch; see `Parity.measure`."""

    measure: Literal["largest", "relative"]
    limit: float


class CaseBroken(ParityBroken):
    """A batch is beyond the tolerance; the first is kept, to look for the layer with."""

    def __init__(self, message: str, case: Case) -> None:
        super().__init__(message)
        self.case = case


TOLERANCES: dict[Precision, Tolerance] = {
    # Kernels that sum in another order differ by about 1e-6.
    "fp32": Tolerance("largest", 1e-4),
    "fp16": Tolerance("relative", 1e-2),
    # Rounding, not mistakes: a wrong scale or a missing layer is beyond 0.5.
    "int8": Tolerance("relative", 0.25),
    "int4": Tolerance("relative", 0.4),
}


def compare(session: Session, cases: Sequence[Case], tolerance: Tolerance) -> tuple[Parity, ...]:
    """Run every case and return how far each is from what PyTorch answers.

    Raises:
        ParityBroken: lists the cases beyond the tolerance with their figures.
    """
    measured, broken, first = [], [], None
    for case in cases:
        difference, wrong = _worst(session, case, tolerance)
        broken.extend(wrong)
        first = first or (case if wrong else None)
        measured.append(Parity(case.name, difference, tolerance.limit, tolerance.measure))
    if first is not None:
        raise CaseBroken(
            f"the graph does not reproduce PyTorch within {tolerance.limit:g}: "
            + "; ".join(broken),
            first,
        )
    return tuple(measured)


def _worst(session: Session, case: Case, tolerance: Tolerance) -> tuple[float, list[str]]:
    found = dict(zip(session.output_names, session.run(case.feeds), strict=True))
    worst, wrong = 0.0, []
    for name, expected in case.expected.items():
        if found[name].shape != expected.shape:
            shapes = f"{found[name].shape} instead of {expected.shape}"
            wrong.append(f"{case.name}: {name} has shape {shapes}")
            continue
        measure = _relative if tolerance.measure == "relative" else _largest
        difference = measure(found[name].astype(np.float32), expected)
        # Written so that NaN fails.
        if not difference <= tolerance.limit:
            wrong.append(f"{case.name}: {name} differs by {difference:.2g}")
        worst = max(worst, difference)
    return worst, wrong


def _largest(found: Vectors, expected: Vectors) -> float:
    compared = ~np.isnan(expected)
    if not compared.any():
        return 0.0
    wanted = expected[compared]
    size = max(1.0, float(np.max(np.abs(wanted))))
    return float(np.max(np.abs(found[compared] - wanted))) / size


def _relative(found: Vectors, expected: Vectors) -> float:
    """Compare along the last axis, which is one answer."""
    compared = ~np.isnan(expected).any(axis=-1)
    wanted, given = expected[compared], found[compared]
    if not wanted.size:
        return 0.0
    if wanted.ndim == 1:
        wanted, given = wanted[None], given[None]
    lengths = np.linalg.norm(wanted, axis=-1)
    differences = np.linalg.norm(given - wanted, axis=-1)
    # Against the usual length too: the score of one label may be near 0.
    usual = float(np.sqrt(np.mean(np.square(lengths))))
    return float(np.max(differences / np.maximum(lengths, max(usual, 1e-12))))
