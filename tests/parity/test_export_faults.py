"""Faults planted in the attention that transformers calls: each must stop the export.

The seam is the real one, `AttentionInterface.register`. Exit code 1 and no bundle in every case.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from exports import export_to
from torch import nn
from transformers import AttentionInterface
from transformers.models.bert.modeling_bert import eager_attention_forward

from export.attention import lowering
from export.errors import LoweringRefused

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


def softcapped(
    module: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *, scaling: float, **_: object
) -> tuple[Tensor, Tensor | None]:
    return lowering.attend(module, q, k, v, mask, scaling=scaling, softcap=30.0)


def without_mask(
    module: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *, scaling: float, **_: object
) -> tuple[Tensor, Tensor | None]:
    del mask
    return lowering.attend(module, q, k, v, None, scaling=scaling)


@pytest.mark.parametrize(
    ("fault", "messages"),
    [
        (first_layer_unfused, ("fusion contract", "Softmax", "was not fused")),
        (all_unfused, ("fusion contract", "no attention module went through the lowering")),
        (wrong_scale, ("does not reproduce PyTorch", "single, length 37: differs by")),
        (mask_ignored, ("does not reproduce PyTorch", "right-padded, batch 2", "packed, batch 1")),
        (softcapped, ("BertSelfAttention passes softcap",)),
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
        ({"position_bias": torch.zeros(1)}, "position_bias"),
        ({"sliding_window": 128}, "sliding_window"),
        ({"output_attentions": True}, "output_attentions"),
        ({"is_causal": True}, "causal"),
        ({"dropout": 0.1}, "dropout"),
    ],
)
def test_keywords_that_the_operator_would_ignore_are_refused(
    keywords: dict[str, object], message: str
) -> None:
    part = torch.zeros(1, 2, 3, 4)
    with pytest.raises(LoweringRefused, match=message):
        lowering.attend(nn.Identity(), part, part, part, torch.zeros(1, 1, 3, 3), **keywords)  # type: ignore[arg-type]  # wrong on purpose


def test_keywords_without_a_value_are_accepted() -> None:
    part = torch.zeros(1, 2, 3, 4)
    mask = torch.zeros(1, 1, 3, 3)
    nothing: dict[str, Any] = {"encoder_hidden_states": None, "output_attentions": False}
    positions = torch.zeros(1, 3)
    with lowering.recording() as seen:
        lowering.attend(nn.Identity(), part, part, part, mask, position_ids=positions, **nothing)
    assert len(seen) == 1
