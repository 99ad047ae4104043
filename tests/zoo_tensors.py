"""Tiny checkpoints of vision and speech models, with the attention that real ones have.

Width 32, two layers, images of 32 pixels: windows that shift, keys fewer than queries, object
queries, pooling heads and convolutions over sound are kept. Every weight is random, zeros included,
so that no mistake hides behind a bias or a position table that begins at zero.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from checkpoints import VOCABULARY, save_tokenizer
from transformers import AutoConfig, PreTrainedModel

from server.repository.manifest import Task

Config = Mapping[str, Any]

_IMAGE = {"size": {"height": 32, "width": 32}}
_SHAPE: Config = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
_VISION: Config = {**_SHAPE, "image_size": 32, "patch_size": 8}
_CLASSES: Config = {"id2label": {0: "cat", 1: "dog", 2: "heron"}}
_TEXT: Config = {
    **_SHAPE,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 3,
}
_SOUND: Config = {
    **_SHAPE,
    "vocab_size": 12,
    "conv_dim": (16, 16, 16),
    "conv_kernel": (10, 3, 2),
    "conv_stride": (5, 2, 2),
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
_DETECTOR: Config = {
    **_CLASSES,
    "d_model": 32,
    "num_queries": 7,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "use_timm_backbone": False,
    "use_pretrained_backbone": False,
    "backbone": None,
}


@dataclass(frozen=True, slots=True)
class TensorArchitecture:
    """One architecture and how its checkpoint is made."""

    name: str
    family: str
    config: Config = field(hash=False)
    model_class: str
    """Class that the checkpoint is saved from."""
    task: Task
    kind: str = "vision"
    tower: str | None = None
    attentions: int = 2
    """Attention modules that a graph of it runs."""
    settings: Config = field(default_factory=lambda: _IMAGE, hash=False)
    """What the processor's file says."""
    outputs: tuple[str, ...] = ("logits",)


_STATES = ("last_hidden_state", "pooler_output")
_CLIP: Config = {"text_config": _TEXT, "vision_config": _VISION, "projection_dim": 24}
_SIGLIP: Config = {"text_config": _TEXT, "vision_config": _VISION}

TENSORS: tuple[TensorArchitecture, ...] = (
    TensorArchitecture(
        "ViT", "vit", {**_VISION, **_CLASSES}, "ViTForImageClassification", "image-classify"
    ),
    TensorArchitecture(
        "DeiT",
        "deit",
        {**_VISION, **_CLASSES},
        "DeiTForImageClassificationWithTeacher",
        "image-classify",
    ),
    TensorArchitecture(
        "BEiT",
        "beit",
        {**_VISION, **_CLASSES, "use_relative_position_bias": True},
        "BeitForImageClassification",
        "image-classify",
    ),
    TensorArchitecture("DINOv2", "dinov2", _VISION, "Dinov2Model", "tensors", outputs=_STATES),
    TensorArchitecture(
        "Swin",
        "swin",
        {
            **_CLASSES,
            "image_size": 32,
            "patch_size": 4,
            "embed_dim": 16,
            "depths": [2, 1],
            "num_heads": [2, 4],
            "window_size": 4,
        },
        "SwinForImageClassification",
        "image-classify",
        attentions=3,
    ),
    TensorArchitecture(
        "SegFormer",
        "segformer",
        {
            **_CLASSES,
            "num_encoder_blocks": 2,
            "depths": [1, 1],
            "sr_ratios": [4, 2],
            "hidden_sizes": [16, 32],
            "patch_sizes": [7, 3],
            "strides": [4, 2],
            "num_attention_heads": [1, 4],
            "mlp_ratios": [2, 2],
            "decoder_hidden_size": 16,
        },
        "SegformerForSemanticSegmentation",
        "segment",
    ),
    TensorArchitecture(
        "DETR",
        "detr",
        {
            **_DETECTOR,
            "backbone_config": {
                "model_type": "resnet",
                "embedding_size": 8,
                "hidden_sizes": [8, 16],
                "depths": [1, 1],
                "out_features": ["stage2"],
            },
        },
        "DetrForObjectDetection",
        "detect",
        attentions=6,
        settings={"size": {"shortest_edge": 32, "longest_edge": 48}},
        outputs=("logits", "pred_boxes"),
    ),
    TensorArchitecture(
        "YOLOS",
        "yolos",
        {**_VISION, **_CLASSES, "image_size": [32, 48], "num_detection_tokens": 7},
        "YolosForObjectDetection",
        "detect",
        settings={"size": {"shortest_edge": 32, "longest_edge": 48}},
        outputs=("logits", "pred_boxes"),
    ),
    TensorArchitecture(
        "CLIP vision",
        "clip",
        _CLIP,
        "CLIPModel",
        "tensors",
        tower="vision",
        outputs=("image_embeds", "last_hidden_state"),
        settings={"do_center_crop": True, "crop_size": 32, "size": {"shortest_edge": 36}},
    ),
    TensorArchitecture(
        "CLIP text",
        "clip",
        _CLIP,
        "CLIPModel",
        "tensors",
        "text",
        tower="text",
        outputs=("text_embeds", "last_hidden_state"),
    ),
    TensorArchitecture(
        "SigLIP vision",
        "siglip",
        _SIGLIP,
        "SiglipModel",
        "tensors",
        tower="vision",
        attentions=3,
        outputs=_STATES,
    ),
    TensorArchitecture(
        "SigLIP text", "siglip", _SIGLIP, "SiglipModel", "tensors", "text", "text", outputs=_STATES
    ),
    TensorArchitecture(
        "Whisper encoder",
        "whisper",
        {
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 1,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 48,
            "decoder_ffn_dim": 48,
            "max_source_positions": 20,
            "num_mel_bins": 8,
            "vocab_size": VOCABULARY,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 3,
            "decoder_start_token_id": 1,
        },
        "WhisperForConditionalGeneration",
        "tensors",
        "speech",
        settings={"feature_size": 8, "nb_max_frames": 40},
        outputs=("last_hidden_state",),
    ),
    TensorArchitecture(
        "Wav2Vec2",
        "wav2vec2",
        {**_SOUND, "do_stable_layer_norm": True, "feat_extract_norm": "layer"},
        "Wav2Vec2Model",
        "tensors",
        "speech",
        settings={"return_attention_mask": True, "sampling_rate": 16000},
        outputs=("last_hidden_state", "extract_features"),
    ),
    TensorArchitecture(
        "HuBERT",
        "hubert",
        _SOUND,
        "HubertModel",
        "tensors",
        "speech",
        settings={"return_attention_mask": False, "sampling_rate": 16000},
        outputs=("last_hidden_state",),
    ),
)
"""Every vision and speech architecture that heed claims."""


def build(architecture: TensorArchitecture) -> PreTrainedModel:
    """Return the same random weights for the same architecture every time."""
    torch.manual_seed(7)
    config = AutoConfig.for_model(architecture.family, **architecture.config)
    model_class = getattr(transformers, architecture.model_class)
    # Not every backbone has more than eager attention.
    model = model_class._from_config(config, attn_implementation="eager")  # noqa: SLF001
    with torch.no_grad():
        for name, weight in model.named_parameters():
            # Norms stay near 1, or the input would drown in what no input moves.
            scales = weight.ndim == 1 and name.endswith("weight")
            weight.normal_(mean=float(scales), std=0.3)
    return cast("PreTrainedModel", model.eval())


def save(architecture: TensorArchitecture, directory: Path) -> Path:
    """Write the checkpoint as a real one is saved."""
    build(architecture).save_pretrained(directory)
    settings = json.dumps(architecture.settings)
    (directory / "preprocessor_config.json").write_text(settings)
    if "text_config" in architecture.config:
        save_tokenizer(directory, _TEXT["pad_token_id"])
    return directory
