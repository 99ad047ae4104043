"""Vision and speech models, and single towers: raw tensors in, tensors of the output out.

The whole model is traced as it is, from its inputs to its head; rows are independent of each other.
Preparing images, sound or text is left to the client, who finds the processor's settings or the
tokenizer in the bundle.
"""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np
import torch
from transformers import PreTrainedConfig, PreTrainedModel

from export import tokenizer
from export.convert import Converted, Signature, convert
from export.graph.constants import fold_constants
from export.graph.fold import fold
from export.kinds import draws, processor, raw, shapes
from export.kinds.kind import Interface
from export.kinds.labels import labels_of
from export.kinds.processor import Size
from export.kinds.raw import Raw
from export.kinds.shapes import FREE, LENGTH
from export.proof.case import Case, Feeds
from export.quality import texts
from server.repository.manifest import Labels, Task, TensorSpec

_NO_OBJECT = "no object"

_ROWS = 3
"""Rows of the trace: neither 0 nor 1, which torch.export takes for constants."""

_MOST_SAMPLES = 64
_MOST_SAMPLE_VALUES = 50_000_000
"""Samples are fewer where each is large: a detector's image has 5 million values."""


class TensorKind:
    """A loaded vision or speech checkpoint, or one tower of a checkpoint."""

    def __init__(
        self,
        module: PreTrainedModel,
        config: PreTrainedConfig,
        directory: Path,
        task: Task,
        *,
        image_size: Size | None = None,
    ) -> None:
        """Read what the model takes.

        Raises:
            CheckpointUnsupported: its inputs cannot be fed as raw tensors.
        """
        self._module = raw.without_unused(module, task)
        # Some checkpoints ask for tuples, which have no names.
        self._module.config.return_dict = True
        self._notes = () if self._module is module else ("the encoder alone, without its decoder",)
        self._config = config
        self._directory = directory
        self._task = task
        self._processor = processor.read(directory)
        self._inputs = shapes.of(self._module, self._processor, image_size)
        self._tokenizer = directory / tokenizer.TOKENIZER_NAME
        self._made_up = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader of the report should know about choices made here."""
        notes = [*self._notes, *self._inputs.notes]
        if self._processor.file is None and self._inputs.tokens is None:
            notes.append("the checkpoint says nothing about preparing inputs")
        if self._made_up:
            notes.append(
                "agreement was measured on made-up data: neither images nor sounds are shipped"
            )
        notes.extend(f"output {name} is left out: rows do not own it" for name in self._chosen[1])
        return tuple(notes)

    @property
    def interface(self) -> Interface:
        """What the bundle promises."""
        outputs = self._outputs
        return Interface(
            family=self._config.model_type,
            hidden_size=_width(self._module.config) or outputs[0].shape[-1],
            inputs=tuple(part.spec for part in self._inputs.inputs),
            outputs=outputs,
            labels=self._labels(outputs[0].shape[-1]),
            processor=None if self._inputs.tokens else self._processor.name,
        )

    def save_files(self, target: Path) -> None:
        """Write the processor's settings, or the tokenizer of a text tower, into the bundle."""
        if self._inputs.tokens is None:
            self._processor.save(target)
            return
        self._tokenizer = tokenizer.save_tokenizer(self._directory, target)
        tokenizer.check_tokenizer(
            self._tokenizer,
            vocabulary=self._inputs.tokens.vocabulary,
            max_tokens=self._longest,
            lowercases=False,
        )

    def convert(self) -> Converted:
        """Return the graph from raw inputs to the task's outputs."""
        feeds = draws.noise(self._inputs, _ROWS, self._usual_length)
        bounds = {} if self._inputs.lengths is None else {LENGTH: self._inputs.lengths}
        signature = Signature(
            {name: torch.tensor(part) for name, part in feeds.items()},
            {part.name: part.free for part in self._inputs.inputs},
            self._chosen[0],
            bounds,
        )
        traced = convert(Raw(self._module, self._chosen[0]), signature, self._module)
        fold(traced.model)
        fold_constants(traced.model)
        return traced

    def cases(self) -> tuple[Case, ...]:
        """Return batches of noise, padded where the model can tell, with PyTorch's answers."""
        return self._cases

    def samples(self, most: int) -> tuple[Case, ...]:
        """Return built-in texts, or single smooth images or sounds, of which none is natural."""
        return tuple(
            self._answer("sample", feeds) for feeds in self._sampled(min(most, _MOST_SAMPLES))
        )

    @cached_property
    def _chosen(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        feeds = draws.whole(self._inputs, 2, self._usual_length)
        return raw.choose(raw.ask(self._module, feeds), self._task, 2)

    @cached_property
    def _cases(self) -> tuple[Case, ...]:
        found = []
        for rows, length in shapes.proof_sizes(self._inputs):
            name = f"batch {rows}, length {length}" if length else f"batch {rows}"
            found.append(self._answer(name, draws.noise(self._inputs, rows, length)))
        return tuple(found)

    @cached_property
    def _outputs(self) -> tuple[TensorSpec, ...]:
        return raw.specs(self._chosen[0], self._cases)

    @property
    def _longest(self) -> int:
        return shapes.proof_sizes(self._inputs)[1][1] or self._inputs.inputs[0].shape[0]

    @property
    def _usual_length(self) -> int:
        """A length that neither the shortest nor the longest input has."""
        return shapes.proof_sizes(self._inputs)[2][1]

    def _answer(self, name: str, feeds: Feeds) -> Case:
        output = raw.ask(self._module, feeds)
        return Case(name, feeds, {key: output[key].numpy() for key in self._chosen[0]})

    def _sampled(self, most: int) -> Iterator[Feeds]:
        if self._inputs.tokens is not None:
            encode = tokenizer.Encoder(self._tokenizer, self._longest)
            for text in texts.texts()[:most]:
                yield draws.text(self._inputs, encode(text).ids)
            return
        self._made_up = most > 0
        row = self._inputs.inputs[0].shape
        values = int(np.prod([self._usual_length if size == FREE else size for size in row]))
        number = min(most, max(1, _MOST_SAMPLE_VALUES // values))
        yield from draws.smooth(self._inputs, number, self._usual_length)

    def _labels(self, scores: int) -> Labels | None:
        """Return the labels of the scores, for detectors with what they score besides."""
        labels = labels_of(self._config, self._task)
        if labels is None or self._task != "detect":
            return labels
        if scores == len(labels.names) + 1:
            return msgspec.structs.replace(labels, names=(*labels.names, _NO_OBJECT))
        # Without a score for "nothing here", every label is judged by itself.
        return msgspec.structs.replace(labels, kind="multi")


def _width(config: PreTrainedConfig) -> int | None:
    """Return the width of the last states, as far as the configuration says."""
    config = getattr(config, "vision_config", config)
    width = getattr(config, "hidden_size", None)
    widths = getattr(config, "hidden_sizes", None)
    return width or (widths[-1] if widths else None)
