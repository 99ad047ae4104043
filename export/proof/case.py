"""One run of the graph and what PyTorch answers to it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
Feeds = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Case:
    """A batch and its answers by output; none where only time is measured.

    Expected values that are NaN are not compared: what stands at padding means nothing.
    """

    name: str
    feeds: Feeds
    expected: Mapping[str, NDArray[np.float32]]
