"""Attention modules outside transformers' interface, given a forward that uses the lowering.

One module per architecture, each with `PATCHES`: class of a module -> the function that takes the
place of its `forward` while a model is traced. Besides attention these are modules that mix tokens
or depend on data: convolutions, masks, padding to a window. Parity proves each on every export.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from torch import nn

Forward = Callable[..., Any]
Patches = Mapping[type[nn.Module], Forward]

ARCHITECTURES = ("convbert", "deberta", "deberta_v2", "funnel", "longformer", "mpnet")
"""Names of the modules here, which are those of the architectures inside transformers."""

_HOMES = {
    f"transformers.models.{name}.modeling_{name}": f"{__name__}.{name}" for name in ARCHITECTURES
}
_HOMES["torch.nn.modules.activation"] = f"{__name__}.multihead"


@contextmanager
def patched(model: nn.Module) -> Iterator[None]:
    """Replace the forward of every module of `model` that has a patch."""
    found = [(part, patch) for part in model.modules() if (patch := _patch(type(part)))]
    for part, patch in found:
        # On the instance, which nn.Module calls in place of the class's own.
        part.forward = patch.__get__(part)
    try:
        yield
    finally:
        for part, _ in found:
            del part.forward


def covers(model: nn.Module) -> bool:
    """Whether any module of `model` has a patch."""
    return any(_patch(type(part)) for part in model.modules())


def _patch(kind: type[nn.Module]) -> Forward | None:
    home = _HOMES.get(kind.__module__)
    if home is None:
        return None
    # Imported only for the architecture at hand: each brings a modelling file of transformers.
    patches: Patches = import_module(home).PATCHES
    return patches.get(kind)
