"""Tiny checkpoints with seeded random weights, saved the way real ones are.

Width 32, two layers, a word-level tokenizer of forty words: what differs between architectures is
kept (position offsets, token types, embedding factorisation), what costs time is not.
"""

import json
from pathlib import Path
from typing import cast

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoModel, PreTrainedModel

LAYERS = 2
HIDDEN = 32
WORDS = tuple(f"word{number}" for number in range(36))
SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[UNK]")
VOCABULARY = len(WORDS) + len(SPECIAL)

_SHAPE: dict[str, object] = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    # Wide enough that a wrong scale or mask moves the answer far beyond the tolerance.
    "initializer_range": 0.5,
}
_ROBERTA: dict[str, object] = {
    **_SHAPE,
    "max_position_embeddings": 66,
    "type_vocab_size": 1,
    "pad_token_id": 1,
}
FAMILIES: dict[str, dict[str, object]] = {
    "bert": _SHAPE,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "electra": {**_SHAPE, "embedding_size": 16},
    "distilbert": {**_SHAPE, "hidden_dim": 48},
}
"""Model type -> what its config is made of."""


def tiny_model(family: str) -> PreTrainedModel:
    """Return the same random weights for the same family every time."""
    torch.manual_seed(7)
    config = AutoConfig.for_model(family, **FAMILIES[family])
    model = AutoModel.from_config(config)  # type: ignore[no-untyped-call]  # annotated in part
    return cast("PreTrainedModel", model.eval())


def save_checkpoint(
    directory: Path, family: str = "bert", *, pooling: str | None = "mean", normalize: bool = True
) -> Path:
    """Write a checkpoint; with `pooling` None it has no sentence-transformers files."""
    directory.mkdir(parents=True, exist_ok=True)
    save_model(directory, tiny_model(family))
    if pooling is not None:
        save_modules(directory, pooling, normalize=normalize)
    return directory


def save_model(directory: Path, model: PreTrainedModel) -> None:
    """Write weights, config and tokenizer."""
    model.save_pretrained(directory)
    save_tokenizer(directory, model.config.pad_token_id or 0)


def save_tokenizer(directory: Path, pad_id: int) -> None:
    """Write a tokenizer of forty words, of which the last stands for a mask."""
    _tokenizer(pad_id).save(str(directory / "tokenizer.json"))
    settings = json.dumps({"mask_token": WORDS[-1]})
    (directory / "tokenizer_config.json").write_text(settings)


def save_modules(directory: Path, pooling: str, *, normalize: bool) -> None:
    """Write what sentence-transformers adds to a checkpoint."""
    kinds = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    modules = [
        {
            "idx": index,
            "name": str(index),
            "path": "" if index == 0 else f"{index}_{kind}",
            "type": f"sentence_transformers.models.{kind}",
        }
        for index, kind in enumerate(kinds)
    ]
    (directory / "modules.json").write_text(json.dumps(modules))
    flags = {
        "word_embedding_dimension": HIDDEN,
        "pooling_mode_cls_token": pooling == "cls",
        "pooling_mode_mean_tokens": pooling == "mean",
        "pooling_mode_max_tokens": pooling == "max",
        "pooling_mode_mean_sqrt_len_tokens": pooling == "mean_sqrt_len",
        "pooling_mode_lasttoken": pooling == "lasttoken",
    }
    (directory / "1_Pooling").mkdir()
    (directory / "1_Pooling" / "config.json").write_text(json.dumps(flags))


def _tokenizer(pad_id: int) -> Tokenizer:
    pieces = [*SPECIAL[1:], *WORDS]
    pieces.insert(pad_id, SPECIAL[0])
    ids = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(WordLevel(ids, unk_token=SPECIAL[3]))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    return tokenizer
