"""Every architecture that heed claims: a tiny seeded checkpoint of each with its true attention.

Width 32, two layers, shared key heads, windows and relative positions where the architecture has
them. `supported` is what exporting each shows, and what `heed-export list` prints.
"""

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import onnx_ir as ir
import torch
import transformers
import zoo_tensors
from checkpoints import VOCABULARY, save_tokenizer
from rich.console import Console
from transformers import AutoConfig, PreTrainedModel
from zoo_tensors import TENSORS, TensorArchitecture

from export import pipeline, supported
from export.errors import ExportFailed
from export.graph.fused import fused_nodes
from export.progress import Progress
from export.supported import Row
from server.errors import ServeError


@dataclass(frozen=True, slots=True)
class Architecture:
    """One row of the table."""

    name: str
    family: str
    config: Mapping[str, Any] = field(hash=False)
    kind: str = "encoder"
    task: str = "embed"
    model_class: str = "AutoModel"


_SHAPE: dict[str, object] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 512,
    # Wide enough that a wrong scale or mask moves the answer far beyond the tolerance.
    "initializer_range": 0.5,
}
_ROBERTA = {**_SHAPE, "max_position_embeddings": 514, "pad_token_id": 1, "type_vocab_size": 1}
_SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_DECODER = {**_SHAPE, **_SPECIAL, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 8}
_DEBERTA = {
    **_SHAPE,
    "relative_attention": True,
    "position_biased_input": False,
    "pos_att_type": ["p2c", "c2p"],
    "max_relative_positions": 16,
}

TEXT = (
    Architecture("BERT", "bert", _SHAPE),
    Architecture("RoBERTa", "roberta", _ROBERTA),
    Architecture("XLM-RoBERTa", "xlm-roberta", _ROBERTA),
    Architecture("CamemBERT", "camembert", _ROBERTA),
    Architecture("DistilBERT", "distilbert", {**_SHAPE, "hidden_dim": 48}),
    Architecture("ALBERT", "albert", {**_SHAPE, "embedding_size": 16}),
    Architecture("ELECTRA", "electra", {**_SHAPE, "embedding_size": 16}),
    Architecture("MPNet", "mpnet", {**_ROBERTA, "type_vocab_size": 0}),
    Architecture("DeBERTa", "deberta", _DEBERTA),
    Architecture(
        "DeBERTa-v2",
        "deberta-v2",
        {**_DEBERTA, "conv_kernel_size": 3, "conv_act": "gelu"},
    ),
    Architecture(
        "DeBERTa-v3",
        "deberta-v2",
        {
            **_DEBERTA,
            "share_att_key": True,
            "position_buckets": 8,
            "norm_rel_ebd": "layer_norm",
        },
    ),
    Architecture(
        "ModernBERT",
        "modernbert",
        {
            **_SHAPE,
            **_SPECIAL,
            "cls_token_id": 1,
            "sep_token_id": 2,
            "local_attention": 8,
            "global_attn_every_n_layers": 2,
        },
    ),
    Architecture("Longformer", "longformer", {**_ROBERTA, "attention_window": [8, 8]}),
    Architecture(
        "Funnel",
        "funnel",
        {
            "vocab_size": VOCABULARY,
            "block_sizes": [1, 1],
            "d_model": 32,
            "n_head": 4,
            "d_head": 8,
            "d_inner": 48,
        },
        model_class="FunnelModel",
    ),
    Architecture("ConvBERT", "convbert", {**_SHAPE, "embedding_size": 32}),
    Architecture(
        "T5 encoder",
        "t5",
        {"vocab_size": VOCABULARY, "d_model": 32, "d_kv": 8, "num_layers": 2, "num_heads": 4,
         "d_ff": 48},
        model_class="T5EncoderModel",
    ),
    Architecture(
        "GPT-2",
        "gpt2",
        {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512,
         "initializer_range": 0.5},
        "decoder",
    ),
    Architecture("GPT-NeoX", "gpt_neox", _SHAPE, "decoder"),
    Architecture("Llama", "llama", _DECODER, "decoder"),
    Architecture("Mistral", "mistral", _DECODER, "decoder"),
    Architecture(
        "Qwen2",
        "qwen2",
        {**_DECODER, "use_sliding_window": True, "max_window_layers": 1},
        "decoder",
    ),
    Architecture("Qwen3", "qwen3", _DECODER, "decoder"),
    Architecture("Phi-3", "phi3", _DECODER, "decoder"),
    Architecture("Gemma 2", "gemma2", {**_DECODER, "attn_logit_softcapping": 2.0}, "decoder"),
    Architecture("Gemma 3", "gemma3_text", {**_DECODER, "query_pre_attn_scalar": 8}, "decoder"),
)  # fmt: skip

ARCHITECTURES: tuple[Architecture | TensorArchitecture, ...] = (*TEXT, *TENSORS)


def build(architecture: Architecture) -> PreTrainedModel:
    """Return the same random weights for the same architecture every time."""
    torch.manual_seed(7)
    config = AutoConfig.for_model(architecture.family, **architecture.config)
    model_class = getattr(transformers, architecture.model_class)
    if hasattr(model_class, "from_config"):
        model = model_class.from_config(config)
    else:
        model = model_class(config)
    return model.eval()  # type: ignore[no-any-return]  # transformers annotates in part


def save(architecture: Architecture, directory: Path) -> Path:
    """Write the checkpoint as a real one is saved."""
    model = build(architecture)
    model.save_pretrained(directory)
    save_tokenizer(directory, model.config.get_text_config().pad_token_id or 0)
    return directory


def prove(architecture: Architecture | TensorArchitecture, directory: Path) -> Row:
    """Export one architecture with every proof and return its row of the table."""
    if isinstance(architecture, Architecture):
        checkpoint, tower = save(architecture, directory / "checkpoint"), None
    else:
        checkpoint = zoo_tensors.save(architecture, directory / "checkpoint")
        tower = architecture.tower
    request = pipeline.Request(
        model=str(checkpoint),
        task=architecture.task,
        out=directory / "models",
        measure=False,
        tower=tower,
    )
    row = Row(
        architecture.name, architecture.family, architecture.kind, architecture.task, green=False
    )
    try:
        bundle, _ = pipeline.run(request, Progress(Console(quiet=True)))
    except (ExportFailed, ServeError) as error:
        return msgspec.structs.replace(row, reason=str(error))
    manifest = bundle.manifest
    ops = Counter(node.op_type for node in fused_nodes(ir.load(bundle.model_path)))
    return msgspec.structs.replace(
        row,
        green=sum(ops.values()) == manifest.card.attention_modules > 0,
        fused=", ".join(f"{count} {op}" for op, count in sorted(ops.items())),
        packed=any("packed" in case.case for case in manifest.card.parity),
    )


def main() -> int:
    """Export every architecture, or those named, and rewrite their rows of the table."""
    wanted = sys.argv[1:]
    known = {row.name: row for row in supported.rows()}
    for architecture in ARCHITECTURES:
        if wanted and architecture.name not in wanted and architecture.name in known:
            continue
        with TemporaryDirectory() as directory:
            known[architecture.name] = prove(architecture, Path(directory))
        sys.stderr.write(f"{known[architecture.name]}\n")
    table = [known[architecture.name] for architecture in ARCHITECTURES]
    Path(supported.__file__).with_name(supported.NAME).write_bytes(supported.encode(table))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
