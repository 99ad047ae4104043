"""What a system answers to one input, whichever system it is: PyTorch or a session."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from export.errors import ParityBroken
from export.proof.case import Feeds
from server.runtime.session import Session

Vector = NDArray[np.floating]
"""One axis."""
Answer = Mapping[str, NDArray[np.float32]]
"""Outputs by name, to one sequence alone: the axis of rows, or of sequences, is 1."""


def ask(session: Session, feeds: Feeds) -> Answer:
    """Run a graph and return its outputs by name, in FP32."""
    outputs = zip(session.output_names, session.run(feeds), strict=True)
    return {name: values.astype(np.float32, copy=False) for name, values in outputs}


def is_finite(answer: Answer) -> bool:
    """Tell whether an answer is numbers throughout: fp16 overflows into infinity."""
    return all(bool(np.isfinite(values).all()) for values in answer.values())


def require_finite(system: str, place: str, answer: Answer) -> None:
    """Check an answer before anything is decided by it.

    Raises:
        ParityBroken: names the system and the place of the input.
    """
    if not is_finite(answer):
        raise ParityBroken(f"{system} answers NaN or infinity to {place}")
