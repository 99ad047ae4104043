"""Which raw tensors a model takes and of which shape: pixels, sound, spectra, token ids.

Rows are always free. Images have the size that the checkpoint was made for, because a run needs
rows of equal shape and position tables have one size; sound and text keep a free length.
"""

import inspect
from dataclasses import dataclass, replace

import torch

# optimum ships no type information.
from optimum.utils import NormalizedVisionConfig  # type: ignore[import-untyped]
from transformers import PreTrainedConfig, PreTrainedModel

from export.errors import CheckpointUnsupported
from export.kinds import backbone
from export.kinds.processor import Processor, Size
from server.repository.manifest import Datatype, TensorSpec

MODALITIES = ("pixel_values", "input_values", "input_features", "input_ids")
"""The inputs of transformers' models that each stand for one kind of data."""

FREE = -1
ROWS = "rows"
LENGTH = "length"
"""Names of the free dimensions; no input has more than these two."""

_WHOLE_TEXTS = frozenset({"siglip_text_model", "siglip2_text_model"})
"""Text towers trained on rows padded to the last place, without a mask: padding is attended."""

_COLOURS = 3
_FEWEST_FRAMES = 2
"""torch.export takes one frame for a constant."""
_LONGEST_RECEPTIVE_FIELD = 20_000


@dataclass(frozen=True, slots=True)
class RawInput:
    """One input of the graph; `shape` is that of one row."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]

    @property
    def spec(self) -> TensorSpec:
        """The input as the manifest states it."""
        return TensorSpec(self.name, self.datatype, (FREE, *self.shape))

    @property
    def free(self) -> dict[int, str]:
        """Free dimensions by axis."""
        lengths = {axis: LENGTH for axis, size in enumerate(self.shape, start=1) if size == FREE}
        return {0: ROWS} | lengths


@dataclass(frozen=True, slots=True)
class Tokens:
    """The ids of a text tower."""

    vocabulary: int
    pad_id: int
    end_id: int


@dataclass(frozen=True, slots=True)
class RawInputs:
    """Everything that a model takes, main input first."""

    inputs: tuple[RawInput, ...]
    lengths: tuple[int, int | None] | None = None
    """Smallest and largest size of the free length; None where there is no free length."""
    tokens: Tokens | None = None
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names in order."""
        return tuple(part.name for part in self.inputs)


def of(module: PreTrainedModel, processor: Processor, image_size: Size | None = None) -> RawInputs:
    """Return what a model takes; `image_size` overrules what the checkpoint says.

    Raises:
        CheckpointUnsupported: several kinds of data at once, an input that nothing here can fill,
            or a shape that neither processor nor configuration tells.
    """
    accepted = inspect.signature(module.forward).parameters
    modalities = [name for name in MODALITIES if name in accepted]
    if len(modalities) != 1:
        raise CheckpointUnsupported(
            f"{type(module).__name__} takes {' and '.join(modalities) or 'no input known here'}; "
            "pass --tower text or --tower vision for a model of both"
        )
    config: PreTrainedConfig = module.config
    match modalities[0]:
        case "pixel_values":
            found = _pixels(config, processor, image_size, takes_mask="pixel_mask" in accepted)
        case "input_values":
            found = _sound(module, processor)
        case "input_features":
            found = _spectrum(config)
        case _:
            found = _text(module)
    required = {name for name, part in accepted.items() if part.default is part.empty} - {"kwargs"}
    unknown = sorted(required - set(found.names))
    if unknown:
        raise CheckpointUnsupported(
            f"{type(module).__name__} also needs {', '.join(unknown)}, which is no raw tensor"
        )
    return found


def _pixels(
    config: PreTrainedConfig, processor: Processor, asked: Size | None, *, takes_mask: bool
) -> RawInputs:
    vision = NormalizedVisionConfig(getattr(config, "vision_config", config))
    channels = vision.num_channels if vision.has_attribute("num_channels") else _COLOURS
    (height, width), origin = _image_size(vision, processor, asked)
    # Video models take a fixed number of frames in front of the channels.
    frames = getattr(config, "num_frames", None)
    shape = (*((frames,) if frames else ()), channels, height, width)
    inputs = [RawInput("pixel_values", "FP32", shape)]
    notes = [f"images are {height} x {width} pixels, from {origin}"]
    if takes_mask and processor.fixed_size() is None:
        inputs.append(RawInput("pixel_mask", "INT64", (height, width)))
        notes.append("smaller images are padded at right and bottom; pixel_mask is 0 there")
    return RawInputs(tuple(inputs), notes=tuple(notes))


def _image_size(
    vision: NormalizedVisionConfig, processor: Processor, asked: Size | None
) -> tuple[Size, str]:
    """Return height and width, and where they come from."""
    if asked is not None:
        return asked, "the command line"
    if (fixed := processor.fixed_size()) is not None:
        return fixed[0], f"{fixed[1]} of {processor.name}"
    for name in ("image_size", "input_size"):
        if vision.has_attribute(name):
            stated = getattr(vision, name)
            size = (stated, stated) if isinstance(stated, int) else tuple(stated)[-2:]
            return size, f"{name} of config.json"
    if (longest := processor.longest_edge()) is not None:
        return (longest, longest), f"the longest edge in {processor.name}, so that every image fits"
    if (shortest := processor.shortest_edge()) is not None:
        return (shortest, shortest), f"the shortest edge in {processor.name}"
    raise CheckpointUnsupported(
        "neither preprocessor_config.json nor config.json says how large images are"
    )


def _sound(module: PreTrainedModel, processor: Processor) -> RawInputs:
    config = module.config
    if hasattr(config, "num_mel_bins") and hasattr(config, "max_length"):
        spectrum = RawInput("input_values", "FP32", (config.max_length, config.num_mel_bins))
        return RawInputs((spectrum,))
    waves = RawInputs(
        (RawInput("input_values", "FP32", (FREE,)),), lengths=(_fewest_samples(module), None)
    )
    if not processor.settings.get("return_attention_mask"):
        return replace(
            waves, notes=("rows of one run are equally long: the model was trained without a mask",)
        )
    mask = RawInput("attention_mask", "INT64", (FREE,))
    return replace(waves, inputs=(*waves.inputs, mask))


def _fewest_samples(module: PreTrainedModel) -> int:
    """Return the shortest sound that makes two frames."""
    frames = getattr(module, "_get_feat_extract_output_lengths", None)
    if frames is None:
        raise CheckpointUnsupported(
            f"{type(module).__name__} does not say how many frames its samples make"
        )
    counts: torch.Tensor = frames(torch.arange(_LONGEST_RECEPTIVE_FIELD))
    return int(torch.nonzero(counts >= _FEWEST_FRAMES)[0])


def _spectrum(config: PreTrainedConfig) -> RawInputs:
    if not hasattr(config, "max_source_positions") or not hasattr(config, "num_mel_bins"):
        raise CheckpointUnsupported(
            f"config.json of {config.model_type} does not say what shape input_features has"
        )
    # Two frames make a position: the second convolution has a stride of 2.
    shape = (config.num_mel_bins, 2 * config.max_source_positions)
    return RawInputs((RawInput("input_features", "FP32", shape),))


def _text(module: PreTrainedModel) -> RawInputs:
    config = module.config
    places = backbone.positions(module, config)
    longest = places.size - places.offset
    tokens = Tokens(config.vocab_size, config.pad_token_id or 0, _end_id(config))
    if config.model_type in _WHOLE_TEXTS:
        ids = RawInput("input_ids", "INT64", (longest,))
        note = f"texts are padded to {longest} tokens; the model attends the padding"
        return RawInputs((ids,), tokens=tokens, notes=(note,))
    inputs = tuple(RawInput(name, "INT64", (FREE,)) for name in ("input_ids", "attention_mask"))
    return RawInputs(
        inputs, lengths=(2, longest), tokens=tokens, notes=("texts are padded on the right",)
    )


def _end_id(config: PreTrainedConfig) -> int:
    # 2 is what the first CLIP checkpoints state and transformers reads as the highest id.
    stated = config.eos_token_id
    first = stated[0] if isinstance(stated, list) else stated
    return int(config.vocab_size) - 1 if first in {None, 2} else int(first)


def proof_sizes(inputs: RawInputs) -> tuple[tuple[int, int], ...]:
    """Return rows and lengths that a proof runs: 1, 2 and 5 rows, each of another length."""
    if inputs.lengths is None:
        return (1, 0), (2, 0), (5, 0)
    smallest, largest = inputs.lengths
    if largest is None:
        return (1, smallest), (2, 13 * smallest + 1), (5, 7 * smallest + 2)
    return (1, smallest), (2, largest), (5, (smallest + largest) // 2)
