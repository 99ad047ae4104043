"""Text models: sequences of tokens, several to a row, with the head of a task in the graph.

The backbone is traced once over packed rows; pooling and the choice of tokens are written as graph
operators, by segment; the checkpoint's own head is traced behind them on what was chosen.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch

from export import sentence, tokenizer
from export.convert import Converted, Signature, convert
from export.errors import CheckpointUnsupported
from export.graph import heads, select
from export.graph.fold import fold
from export.graph.heads import Head
from export.graph.select import Pooling
from export.kinds import backbone, reference
from export.kinds.backbone import Backbone, HeadOnly
from export.kinds.kind import Interface
from export.kinds.labels import labels_of
from export.load import Loaded
from export.proof import batches
from export.proof.case import Case
from export.quality import texts
from export.sentence import Recipe
from server.repository.manifest import Limits, Task, TensorSpec, TextFiles
from server.repository.manifest import Pooling as PoolingFacts

PAIRED: frozenset[Task] = frozenset({"rerank", "classify", "question-answer"})
"""Tasks whose text may be two texts, told apart by token types where the model has them."""

# Neither 0 nor 1, which torch.export takes for constants, and no size equal to another.
_ROWS, _LENGTH, _SEQUENCES = 3, 6, 5


@dataclass(frozen=True, slots=True)
class TextOptions:
    """What the command line may say about a text model."""

    dimensions: int | None = None
    """Cut embeddings to their first values."""
    max_tokens: int | None = None


class TextKind:
    """A loaded text checkpoint."""

    def __init__(self, loaded: Loaded, options: TextOptions) -> None:
        """Read everything that the checkpoint says about text.

        Raises:
            CheckpointUnsupported: a head or pooling that the graph would not do.
        """
        self._loaded = loaded
        self._base = backbone.of(loaded.module)
        self._task = loaded.task
        self._recipe = sentence.read(loaded.directory)
        self._positions = backbone.positions(self._base, loaded.config)
        self._width = backbone.hidden_size(loaded.config)
        self._vocabulary = backbone.vocabulary(self._base)
        self._pad_id = loaded.config.get_text_config().pad_token_id or 0
        self._types = self._task in PAIRED and backbone.num_token_types(loaded.config) > 1
        self._mask_id = tokenizer.mask_id(loaded.directory) if self._task == "fill-mask" else None
        self._head = _embedding_head(self._recipe, self._width, options.dimensions)
        self._max_tokens = backbone.max_tokens(
            options.max_tokens or self._recipe.max_tokens, self._positions, loaded
        )
        self._labels = labels_of(loaded.config, self._task)
        self._tokenizer_file: Path | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader of the report should know about choices made here."""
        return self._recipe.notes if self._task == "embed" else ()

    @property
    def recipe(self) -> Recipe:
        """How sentence-transformers uses the model."""
        return self._recipe

    @property
    def interface(self) -> Interface:
        """What the bundle promises."""
        names = ["input_ids", "segment_ids", "position_ids"]
        if self._types:
            names.append("token_type_ids")
        return Interface(
            family=self._loaded.family,
            hidden_size=self._width,
            inputs=tuple(TensorSpec(name, "INT64", (-1, -1)) for name in names),
            outputs=self._outputs(),
            limits=Limits(self._max_tokens, self._vocabulary, self._positions.size),
            text=TextFiles(
                pad_id=self._pad_id,
                position_offset=self._positions.offset,
                mask_id=self._mask_id,
            ),
            pooling=PoolingFacts(self._head.mode, self._head.normalize, self._head.dimensions)
            if self._task == "embed"
            else None,
            labels=self._labels,
        )

    def save_files(self, target: Path) -> None:
        """Write the tokenizer into the bundle, checked against the model."""
        self._tokenizer_file = tokenizer.save_tokenizer(self._loaded.directory, target)
        tokenizer.check_tokenizer(
            self._tokenizer_file,
            vocabulary=self._vocabulary,
            max_tokens=self._max_tokens,
            lowercases=self._recipe.lowercases,
        )

    def convert(self) -> Converted:
        """Return the graph from token ids to the task's outputs."""
        ids = torch.ones((_ROWS, _LENGTH), dtype=torch.long)
        inputs = {
            "input_ids": ids,
            "segment_ids": ids.clone(),
            # A tensor of its own: torch.export takes equal objects for one input.
            "position_ids": torch.full_like(ids, self._positions.offset),
        }
        if self._types:
            inputs["token_type_ids"] = torch.zeros_like(ids)
        traced = convert(
            Backbone(self._base, self._loaded.config, types=self._types),
            Signature(
                inputs, {name: {0: "rows", 1: "length"} for name in inputs}, ("last_hidden_state",)
            ),
            # The head's class decides where a Longformer attends globally.
            self._loaded.module,
        )
        self._attach(traced.model, "last" if traced.causal else "cls")
        fold(traced.model)
        return traced

    def cases(self) -> tuple[Case, ...]:
        """Return padded, packed and single batches with the answers to each sequence alone."""
        drawn = tuple(batches.batches(self._text(), self._window()))
        return tuple(self._answer(batch) for batch in drawn)

    def samples(self, most: int) -> tuple[Case, ...]:
        """Return built-in texts, or pairs where the task takes two, each alone."""
        drawn: Sequence[tuple[str, str | None]]
        if self._task in {"rerank", "question-answer"}:
            drawn = texts.pairs()[:most]
        else:
            drawn = [(text, None) for text in texts.texts()[:most]]
        return self.ask(self._tokenized(drawn))

    def ask(self, sequences: Iterable[batches.TokenIds]) -> tuple[Case, ...]:
        """Return sequences, each alone in a run, with PyTorch's answers."""
        return tuple(self._answer(batches.alone(self._text(), one)) for one in sequences)

    def encoder(self) -> tokenizer.Encoder:
        """Return the tokenizer that `save_files` wrote."""
        if self._tokenizer_file is None:
            raise ValueError("save_files comes first")
        return tokenizer.Encoder(self._tokenizer_file, self._max_tokens)

    def _answer(self, batch: batches.Batch) -> Case:
        return reference.answer(self._loaded, self._head, batch, self.interface)

    def _tokenized(self, drawn: Iterable[tuple[str, str | None]]) -> Iterator[batches.TokenIds]:
        encode = self.encoder()
        for first, second in drawn:
            encoded = encode(first, second)
            ids = np.array(encoded.ids, np.int64)
            if self._mask_id is not None:
                ids[len(ids) // 2] = self._mask_id
            types = np.array(encoded.type_ids, np.int64) if self._types else None
            yield batches.TokenIds(ids, types)

    def _text(self) -> batches.Text:
        return batches.Text(
            self._vocabulary,
            self._pad_id,
            self._positions.offset,
            self._max_tokens,
            has_types=self._types,
            mask_id=self._mask_id,
        )

    def _window(self) -> int:
        return backbone.window(self._loaded.config)

    def _outputs(self) -> tuple[TensorSpec, ...]:
        labels = len(self._labels.names) if self._labels is not None else 0
        match self._task:
            case "embed":
                return (_floats(heads.SENTENCE_EMBEDDING, "sequence", -1, self._head.dimensions),)
            case "sparse-embed":
                return (_floats(heads.SPARSE_EMBEDDING, "sequence", -1, self._vocabulary),)
            case "fill-mask":
                return (_floats("logits", "mask", -1, self._vocabulary),)
            case "token-classify":
                return (_floats("logits", "token", -1, -1, labels),)
            case "question-answer":
                return (
                    _floats("start_logits", "token", -1, -1),
                    _floats("end_logits", "token", -1, -1),
                )
            case _:
                return (_floats("logits", "sequence", -1, labels),)

    def _attach(self, model: ir.Model, ends: Pooling) -> None:
        """Put the task's head behind the states of the backbone."""
        (states,) = model.graph.outputs
        states.shape = ir.Shape(["rows", "length", self._width])
        match self._task:
            case "embed":
                heads.add_sentence_embedding(model, self._head)
            case "sparse-embed":
                model.graph.outputs[:] = heads.join(model, states, self._trace_head(tokens=True))
                heads.add_sparse_embedding(model, self._vocabulary)
            case "token-classify" | "question-answer":
                logits = heads.join(model, states, self._trace_head(tokens=True))
                self._finish(model, logits)
            case "fill-mask":
                if self._mask_id is None:
                    raise CheckpointUnsupported("the tokenizer has no mask token to fill")
                chosen = select.tokens_of(model, states, self._mask_id)
                self._finish(model, heads.join(model, chosen, self._trace_head(tokens=False)))
            case _:
                mode = backbone.classifier_pooling(self._loaded.config) or ends
                chosen = select.pool(model, states, mode, self._width)
                self._finish(model, heads.join(model, chosen, self._trace_head(tokens=False)))

    def _trace_head(self, *, tokens: bool) -> ir.Model:
        """Trace the checkpoint's head on states (rows, length, width) or (n, width)."""
        shape = (_ROWS, _LENGTH, self._width) if tokens else (_SEQUENCES, self._width)
        free = {0: "rows", 1: "length"} if tokens else {0: "sequences"}
        names = (
            ("logits",)
            if self._task == "sparse-embed"
            else tuple(spec.name for spec in self._outputs())
        )
        head = HeadOnly(self._loaded.module, self._base, names, self._pad_id)
        signature = Signature({"states": torch.zeros(shape)}, {"states": free}, names)
        return convert(head, signature).model

    def _finish(self, model: ir.Model, values: tuple[ir.Value, ...]) -> None:
        names = {"token": ["rows", "length"], "mask": ["masks"], "sequence": ["sequences"]}
        heads.set_outputs(
            model,
            {
                spec.name: (value, [*names[spec.per], *(d for d in spec.shape if d > 0)])
                for spec, value in zip(self._outputs(), values, strict=True)
            },
        )


def _floats(name: str, per: str, *shape: int) -> TensorSpec:
    return TensorSpec(name, "FP32", shape, per)  # type: ignore[arg-type]  # one of its literals


def _embedding_head(recipe: Recipe, width: int, dimensions: int | None) -> Head:
    whole = recipe.layers[-1].weight.shape[1] if recipe.layers else width
    if dimensions is not None and not 1 <= dimensions <= whole:
        raise CheckpointUnsupported(
            f"--dimensions {dimensions}: the embedding has {whole}; choose 1 to {whole}"
        )
    return Head(
        recipe.mode,
        normalize=recipe.normalize,
        dimensions=dimensions or whole,
        layers=recipe.layers,
        width=width,
    )
