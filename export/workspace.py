"""Where an export works: the traced graph and its variants, files that share one set of weights.

The graph is written once as it was traced. Every variant is read back from there, so that weights
are mapped from disk and the checkpoint's own memory can be given back before anything is measured.
"""

from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir

TRACED = "traced"

Edit = Callable[[ir.Model], object]


class Workspace:
    """A directory of graphs."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory

    def path(self, name: str) -> Path:
        """Return where the graph of a name lies."""
        return self.directory / f"{name}.onnx"

    def save_traced(self, model: ir.Model) -> Path:
        """Write the graph with its weights in a file of their own."""
        ir.save(model, self.path(TRACED), external_data=f"{TRACED}.onnx.data")
        return self.path(TRACED)

    def read(self, name: str = TRACED) -> ir.Model:
        """Return a graph whose weights stay on disk until they are used."""
        return ir.load(self.path(name))

    def variant(self, name: str, *edits: Edit, source: str = TRACED, own: bool = False) -> Path:
        """Write what becomes of a graph after some edits, and return its path.

        With `own` the variant has its weights in a file of its own; otherwise untouched weights
        stay in the file of the source and new ones go into the graph.
        """
        model = self.read(source)
        for edit in edits:
            edit(model)
        ir.save(model, self.path(name), external_data=f"{name}.onnx.data" if own else None)
        return self.path(name)
