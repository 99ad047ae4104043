"""The backbone of a text model behind the bundle's inputs, and its head without the backbone."""

import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions

from export.attention import masks, patches
from export.errors import CheckpointUnsupported
from export.graph.select import Pooling
from export.load import Loaded

_TABLES = ("position_embeddings", "wpe", "embed_positions", "position_embedding")
"""Names that transformers gives a table of absolute positions."""

_UNLIMITED = 1_000_000
"""Tokenizers without a limit state a number beyond this."""

_WITHOUT_LIMIT = 512
"""Longest sequence of a model with relative positions that states no limit of its own."""


@dataclass(frozen=True, slots=True)
class Positions:
    """The position ids that a model takes: from `offset` to below `size`."""

    size: int
    offset: int


class Backbone(nn.Module):
    """A base model behind `input_ids`, `segment_ids`, `position_ids` and maybe token types."""

    def __init__(self, base: PreTrainedModel, config: PreTrainedConfig, *, types: bool) -> None:
        super().__init__()
        self.base = base
        accepted = inspect.signature(base.forward).parameters
        self.takes_positions = "position_ids" in accepted
        self.caches = "use_cache" in accepted
        # transformers sets the flag on every architecture that uses its attention interface.
        self.lowers = base._supports_attention_backend or patches.covers(base)  # noqa: SLF001
        # One zero broadcasts over rows and length, so the embedding folds into a constant.
        fixed = not types and "token_type_ids" in accepted and num_token_types(config) > 0
        self.fixed_types = nn.Buffer(torch.zeros(1, 1, dtype=torch.long)) if fixed else None

    def forward(
        self,
        input_ids: torch.Tensor,
        segment_ids: torch.Tensor,
        position_ids: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the states of all tokens, (rows, length, width)."""
        masks.current.get().segment_ids = segment_ids
        keywords: dict[str, object] = {"position_ids": position_ids} if self.takes_positions else {}
        types = self.fixed_types if token_type_ids is None else token_type_ids
        if types is not None:
            keywords["token_type_ids"] = types
        if self.caches:
            keywords["use_cache"] = False
        # The lowering builds its masks from the segments and only needs to be told of one.
        # Attention outside of it adds a finished bias as it is.
        mask = (segment_ids > 0).long() if self.lowers else masks.segment_bias(segment_ids)
        output = self.base(input_ids=input_ids, attention_mask=mask, **keywords)
        return cast("torch.Tensor", output.last_hidden_state)


class HeadOnly(nn.Module):
    """A task's model whose backbone answers with given states.

    States are (rows, length, width), or (n, width) of one chosen token each, which the head is
    shown as sequences of one token.
    """

    def __init__(
        self, module: PreTrainedModel, base: PreTrainedModel, outputs: tuple[str, ...], pad_id: int
    ) -> None:
        super().__init__()
        if base is module:
            raise CheckpointUnsupported(f"{type(module).__name__} has no head of its own")
        self.module = module
        self.base = base
        self.outputs = outputs
        self.token_id = pad_id + 1
        """Any id that is not padding: heads of decoders look for the last one."""

    def forward(self, states: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the head's outputs, without the axis of single tokens."""
        single = states.ndim == 2  # noqa: PLR2004
        sequences = states.unsqueeze(1) if single else states

        def answer(*_: object, **__: object) -> BaseModelOutputWithPoolingAndCrossAttentions:
            states = BaseModelOutputWithPoolingAndCrossAttentions(
                last_hidden_state=sequences, pooler_output=_pooled(self.base, sequences)
            )
            # Longformer's heads hand it on.
            states.global_attentions = None
            return states

        ids = torch.full(sequences.shape[:2], self.token_id, dtype=torch.long)
        text = self.module.config.get_text_config()
        pad_id = text.pad_token_id
        # Heads of decoders refuse several rows without one.
        text.pad_token_id = self.token_id - 1
        # On the instance, which nn.Module calls in place of the class's own.
        self.base.forward = answer
        try:
            result = self.module(input_ids=ids, attention_mask=torch.ones_like(ids))
        finally:
            del self.base.forward
            text.pad_token_id = pad_id
        tensors = (result[name] for name in self.outputs)
        return tuple(
            tensor.squeeze(1) if single and tensor.ndim > 2 else tensor  # noqa: PLR2004
            for tensor in tensors
        )


def of(module: PreTrainedModel) -> PreTrainedModel:
    """Return the model under a head, or the model itself."""
    return cast("PreTrainedModel", module.base_model)


def positions(base: nn.Module, config: PreTrainedConfig) -> Positions:
    """Return the range of position ids: of the table, or of the configuration without one."""
    stated = getattr(config.get_text_config(), "max_position_embeddings", None)
    for name, part in base.named_modules():
        if isinstance(part, nn.Embedding) and name.rpartition(".")[2] in _TABLES:
            # The RoBERTa family counts positions from behind the padding index of its table.
            offset = 0 if part.padding_idx is None else part.padding_idx + 1
            return Positions(min(part.num_embeddings, stated or part.num_embeddings), offset)
    return Positions(stated or _WITHOUT_LIMIT, 0)


def max_tokens(stated: int | None, places: Positions, loaded: Loaded) -> int:
    """Return the longest sequence: as stated, within the positions there are.

    Raises:
        CheckpointUnsupported: there is no room for a single token.
    """
    room = places.size - places.offset
    if room < 1:
        raise CheckpointUnsupported(
            f"a position table of {places.size} rows has no room behind offset {places.offset}"
        )
    return min(room, stated or _tokenizer_limit(loaded.directory) or room)


def hidden_size(config: PreTrainedConfig) -> int:
    """Return the width of the token states."""
    return int(config.get_text_config().hidden_size)


def vocabulary(base: PreTrainedModel) -> int:
    """Return how many token ids the embedding knows."""
    return int(cast("nn.Embedding", base.get_input_embeddings()).num_embeddings)


def num_token_types(config: PreTrainedConfig) -> int:
    """Return how many token types the embedding has; 0 without any."""
    return int(getattr(config.get_text_config(), "type_vocab_size", 0) or 0)


def window(config: PreTrainedConfig) -> int:
    """Return how far local attention reaches, or 0 where every attention is global."""
    text = config.get_text_config()
    for name in ("local_attention", "attention_window", "sliding_window"):
        reach = getattr(text, name, None)
        if reach:
            return int(max(reach)) if isinstance(reach, list | tuple) else int(reach)
    return 0


def classifier_pooling(config: PreTrainedConfig) -> Pooling | None:
    """Return the pooling that a configuration names for its classifier."""
    named = getattr(config, "classifier_pooling", None)
    return cast("Pooling", named) if named in {"cls", "mean"} else None


def _pooled(base: PreTrainedModel, states: torch.Tensor) -> torch.Tensor | None:
    pooler = getattr(base, "pooler", None)
    if pooler is None:
        return None
    if isinstance(pooler, nn.Linear):
        # ALBERT keeps layer and activation apart.
        activation = cast("nn.Module", base.pooler_activation)
        return cast("torch.Tensor", activation(pooler(states[:, 0])))
    return cast("torch.Tensor", pooler(states))


def _tokenizer_limit(directory: Path) -> int | None:
    file = directory / "tokenizer_config.json"
    if not file.is_file():
        return None
    try:
        limit = json.loads(file.read_bytes()).get("model_max_length")
    except (ValueError, AttributeError) as error:
        raise CheckpointUnsupported(f"tokenizer_config.json cannot be read: {error}") from error
    return int(limit) if isinstance(limit, int | float) and 0 < limit < _UNLIMITED else None
