"""Read how sentence-transformers turns token states into one vector: pooling, layers, norm, length.

Pure: files of a checkpoint directory in, a recipe out, no torch. Formats: `modules.json`,
`<n>_Pooling/config.json`, `<n>_Dense/` and `sentence_bert_config.json` as sentence-transformers 2
to 6 write them. What the exported graph would not do is refused by name.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from export.errors import CheckpointUnsupported
from export.graph.heads import Activation, Dense
from export.graph.select import Pooling

_MODE_FLAGS: dict[str, str] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_MODES: dict[str, Pooling] = {"mean": "mean", "cls": "cls", "max": "max", "lasttoken": "last"}
_SPARSE_MODULES = {"MLMTransformer", "SpladePooling"}


@dataclass(frozen=True, slots=True)
class Recipe:
    """From token states to a sentence embedding."""

    mode: Pooling
    normalize: bool
    max_tokens: int | None
    """Longest sequence the model was made for, when the checkpoint says so."""
    lowercases: bool
    """The text is lower-cased before the tokenizer sees it."""
    layers: tuple[Dense, ...] = ()
    """Linear layers between pooling and normalisation."""
    notes: tuple[str, ...] = ()
    """What the reader of the report should know about choices made here."""


def read(directory: Path) -> Recipe:
    """Return the recipe of a checkpoint directory.

    Without `modules.json` the recipe is mean pooling without normalisation, which is what
    sentence-transformers itself makes of a plain transformer.

    Raises:
        CheckpointUnsupported: a module or pooling mode has no counterpart in the graph.
    """
    settings = _object(directory / "sentence_bert_config.json")
    max_tokens = settings.get("max_seq_length")
    if not (max_tokens is None or (isinstance(max_tokens, int) and max_tokens > 0)):
        raise CheckpointUnsupported(
            f"sentence_bert_config.json: max_seq_length is {max_tokens!r}, not a positive integer"
        )
    lowercases = settings.get("do_lower_case") is True
    if not (directory / "modules.json").is_file():
        note = "no modules.json: mean pooling without normalisation, as sentence-transformers does"
        return Recipe("mean", normalize=False, max_tokens=max_tokens, lowercases=lowercases,
                      notes=(note,))  # fmt: skip
    mode: Pooling | None = None
    normalize = False
    layers: list[Dense] = []
    for kind, path in _modules(directory / "modules.json"):
        if kind == "Pooling":
            mode = _pooling_mode(directory, path)
        elif kind == "Dense" and not normalize:
            layers.append(_dense(directory / path, path))
        elif kind == "Normalize":
            normalize = True
        elif kind != "Transformer":
            raise CheckpointUnsupported(
                f"modules.json names {kind} where the graph cannot hold it; "
                "Transformer, Pooling, Dense and Normalize can be exported, in this order"
            )
    if mode is None:
        raise CheckpointUnsupported("modules.json names no Pooling module; it gives no embedding")
    return Recipe(mode, normalize, max_tokens, lowercases, tuple(layers), _prompt_notes(directory))


def is_sentence_model(directory: Path) -> bool:
    """Whether sentence-transformers saved the checkpoint."""
    return (directory / "modules.json").is_file()


def is_sparse(directory: Path) -> bool:
    """Whether the checkpoint is a sparse encoder: a masked language model and SPLADE pooling.

    Raises:
        CheckpointUnsupported: it is one with an activation that the graph would not do.
    """
    if not is_sentence_model(directory):
        return False
    modules = _modules(directory / "modules.json")
    if not {kind for kind, _ in modules} & _SPARSE_MODULES:
        return False
    for kind, path in modules:
        settings = _object(directory / path / "config.json") if kind == "SpladePooling" else {}
        strategy = settings.get("pooling_strategy", "max")
        activation = settings.get("activation_function", "relu")
        if (strategy, activation) != ("max", "relu"):
            raise CheckpointUnsupported(
                f"{path}/config.json: SPLADE pooling is {strategy} of {activation}; "
                "max of relu can be exported"
            )
    return True


def _modules(path: Path) -> list[tuple[str, str]]:
    entries = _load(path)
    if not isinstance(entries, list):
        raise CheckpointUnsupported(f"{path.name} is not a list of modules")
    found = []
    for entry in entries:
        kind = entry.get("type") if isinstance(entry, dict) else None
        if not isinstance(kind, str):
            raise CheckpointUnsupported(f"{path.name}: every module needs a 'type'")
        # Only the class name is stable: its package moved between major versions.
        found.append((kind.rpartition(".")[2], str(entry.get("path", ""))))
    return found


def _pooling_mode(directory: Path, path: str) -> Pooling:
    file = directory / path / "config.json"
    name = f"{path}/config.json"
    if not file.is_file():
        raise CheckpointUnsupported(f"{name} is missing, so the pooling mode is unknown")
    config = _object(file)
    if config.get("include_prompt") is False:
        raise CheckpointUnsupported(f"{name}: include_prompt false is not supported")
    modes = [mode for flag, mode in _MODE_FLAGS.items() if config.get(flag) is True]
    named = config.get("pooling_mode")
    if not modes and named is not None:
        modes = [str(mode) for mode in (named if isinstance(named, list) else [named])]
    if len(modes) == 1 and modes[0] in _MODES:
        return _MODES[modes[0]]
    found = " and ".join(modes) if modes else "none"
    raise CheckpointUnsupported(
        f"{name}: pooling mode is {found}; one of {', '.join(_MODES)} can be exported"
    )


def _dense(directory: Path, name: str) -> Dense:
    config = _object(directory / "config.json")
    stated = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    activation = {"GELU": "Gelu", "ReLU": "Relu"}.get(
        stated.rpartition(".")[2], stated.rpartition(".")[2]
    )
    if activation not in get_args(Activation):
        raise CheckpointUnsupported(
            f"{name}/config.json: activation {stated} cannot be exported; "
            f"use one of {', '.join(get_args(Activation))}"
        )
    file = directory / "model.safetensors"
    if not file.is_file():
        raise CheckpointUnsupported(f"{name}/model.safetensors is missing")
    try:
        tensors = load_file(file)
        weight = tensors["linear.weight"].astype(np.float32)
        bias = tensors["linear.bias"].astype(np.float32) if "linear.bias" in tensors else None
    except (SafetensorError, KeyError) as error:
        raise CheckpointUnsupported(f"{name}/model.safetensors cannot be used: {error}") from error
    return Dense(np.ascontiguousarray(weight.T), bias, activation)  # type: ignore[arg-type]  # checked above


def _prompt_notes(directory: Path) -> tuple[str, ...]:
    default = _object(directory / "config_sentence_transformers.json").get("default_prompt_name")
    if default is None:
        return ()
    return (f"the checkpoint's default prompt '{default}' is the client's to prepend",)


def _object(path: Path) -> dict[str, object]:
    if not path.is_file():
        return {}
    data = _load(path)
    if not isinstance(data, dict):
        raise CheckpointUnsupported(f"{path.name} is not a JSON object")
    return data


def _load(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise CheckpointUnsupported(f"{path.name} is not JSON: {error}") from error
