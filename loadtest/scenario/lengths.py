"""How long the texts of a scenario are, as checked values. Draws nothing."""

from typing import Annotated

import msgspec
from msgspec import Meta

Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]


class Distribution(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="distribution"
):
    """Tokens per text, the model's special tokens included."""


class LogNormal(Distribution, tag="lognormal", frozen=True, forbid_unknown_fields=True):
    """Many short texts, few long ones; `sigma` is the spread of the logarithm."""

    mean: Positive = 34.0
    sigma: Positive = 0.8
    max: Count = 231


class Fixed(Distribution, tag="fixed", frozen=True, forbid_unknown_fields=True):
    """Every text alike."""

    tokens: Count


class Uniform(Distribution, tag="uniform", frozen=True, forbid_unknown_fields=True):
    """Every length from min to max equally often."""

    min: Count
    max: Count

    def __post_init__(self) -> None:
        if self.min > self.max:
            raise ValueError(f"lengths.min {self.min} is above lengths.max {self.max}")


class Bimodal(Distribution, tag="bimodal", frozen=True, forbid_unknown_fields=True):
    """Two lengths: questions beside documents."""

    short: Count
    long: Count
    long_share: Annotated[float, Meta(ge=0, le=1)] = 0.5


class FromFile(Distribution, tag="file", frozen=True, forbid_unknown_fields=True):
    """Lengths drawn from a file with one whole number a line, relative to the scenario's file."""

    path: str


class Listed(Distribution, tag="listed", frozen=True, forbid_unknown_fields=True):
    """Lengths drawn from a list; what a file becomes once it has been read."""

    tokens: Annotated[tuple[Count, ...], Meta(min_length=1)]


Lengths = LogNormal | Fixed | Uniform | Bimodal | FromFile | Listed
