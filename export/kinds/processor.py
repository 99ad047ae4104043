"""The settings of a checkpoint's image or audio processor.

Read as plain JSON: the processor classes themselves need libraries that an export does not. Knows
what the settings say, not what a model takes.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.errors import CheckpointUnsupported

Size = tuple[int, int]
"""Height and width in pixels."""

NAMES = ("preprocessor_config.json", "processor_config.json")
"""Files that hold the settings, older and newer; the newer one nests them."""

_NESTED = ("image_processor", "feature_extractor")
_PLACES = ("crop_size", "pad_size", "size")
"""Where an image gets its last size, latest step first."""


@dataclass(frozen=True, slots=True)
class Processor:
    """What a checkpoint says about preparing its inputs."""

    file: Path | None
    """None where the checkpoint says nothing."""
    settings: Mapping[str, Any]

    @property
    def name(self) -> str | None:
        """Name of the file in the bundle."""
        return None if self.file is None else self.file.name

    def save(self, target: Path) -> None:
        """Copy the file, byte for byte, into a directory."""
        if self.file is not None:
            shutil.copyfile(self.file, target / self.file.name)

    def fixed_size(self) -> tuple[Size, str] | None:
        """Return the one size that every image leaves the processor with, and who says so."""
        for place in _PLACES:
            if place == "crop_size" and not self.settings.get("do_center_crop"):
                continue
            size = _fixed(self.settings.get(place))
            if size is not None:
                return size, place
        return None

    def longest_edge(self) -> int | None:
        """Return the longest edge of any image where the processor keeps proportions."""
        size = self.settings.get("size")
        if not isinstance(size, dict):
            return None
        edges = [size.get(name) for name in ("longest_edge", "max_height", "max_width")]
        known = [int(edge) for edge in edges if edge is not None]
        return max(known, default=None)

    def shortest_edge(self) -> int | None:
        """Return the shorter edge of every image where the processor keeps proportions."""
        size = self.settings.get("size")
        edge = size.get("shortest_edge") if isinstance(size, dict) else None
        return None if edge is None else int(edge)


def read(directory: Path) -> Processor:
    """Return the settings in a checkpoint directory; empty ones where there are none.

    Raises:
        CheckpointUnsupported: the file is not a JSON object.
    """
    for name in NAMES:
        file = directory / name
        if not file.is_file():
            continue
        try:
            content = json.loads(file.read_bytes())
        except ValueError as error:
            raise CheckpointUnsupported(f"{name} cannot be read: {error}") from error
        if not isinstance(content, dict):
            raise CheckpointUnsupported(f"{name} holds no settings")
        nested = (content.get(part) for part in _NESTED)
        settings = next((part for part in nested if isinstance(part, dict)), content)
        return Processor(file, settings)
    return Processor(None, {})


def _fixed(size: object) -> Size | None:
    # One number is how older checkpoints wrote a square.
    if isinstance(size, int):
        return size, size
    if isinstance(size, dict) and "height" in size and "width" in size:
        return int(size["height"]), int(size["width"])
    return None
