"""What the batcher asks of a kind of model: how its units share a run and find their answers.

A unit is what a run takes whole: a sequence of tokens, which may share a row with others, or a row
of tensors. Its `len` is its size in the kind's own measure: tokens, or 1 for a row.
"""

from collections.abc import Mapping, Sequence, Sized
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from server.batching.plan import Plan

Array = NDArray[np.generic]
Answer = tuple[Array, ...]
"""One unit's part of every output, in the order of the manifest."""

U = TypeVar("U", bound=Sized)
U_contra = TypeVar("U_contra", bound=Sized, contravariant=True)


class Layout(Protocol[U_contra]):
    """How units of one kind lie in the tensors of a run. Pure; called from several threads."""

    @property
    def output_names(self) -> tuple[str, ...]:
        """The outputs to ask the session for."""

    def plan(self, units: Sequence[U_contra], budget: int) -> Plan:
        """Choose the next run from units in the order to serve, the head always among them."""

    def pack(self, units: Sequence[U_contra], plan: Plan) -> Mapping[str, Array]:
        """Return the graph's inputs for the units of a plan, which is renumbered to them."""

    def scatter(
        self, arrays: Sequence[Array], units: Sequence[U_contra], plan: Plan
    ) -> list[Answer]:
        """Return each unit's answer, in the order of the units.

        Raises:
            ValueError: the arrays are not what the manifest promises.
        """
