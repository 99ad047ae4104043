"""Attention modules with patches of their own, each against PyTorch on every sequence alone."""

import copy
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx_ir as ir
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import (
    ConvBertConfig,
    ConvBertModel,
    DebertaConfig,
    DebertaModel,
    DebertaV2Config,
    DebertaV2Model,
    FunnelConfig,
    FunnelModel,
    LongformerConfig,
    LongformerForQuestionAnswering,
    LongformerForSequenceClassification,
    LongformerModel,
    MPNetConfig,
    MPNetModel,
    PreTrainedConfig,
    PreTrainedModel,
)

from export.attention import lowering, masks
from export.attention.patches import distances
from export.convert import Converted, Signature, convert
from export.errors import LoweringRefused
from export.graph.fold import fold
from export.graph.fused import count_fused
from server.runtime.session import Session, SessionConfig

TOLERANCE = 2e-5
"""Of the largest value: FP32 against FP64, with weights 25 times as wide as real ones."""

VOCABULARY = 40
SEPARATOR = 2
PAD_ID = 1
OFFSET = PAD_ID + 1

# `test_supported` proves one form of each on every run.
pytestmark = pytest.mark.thorough

Ids = NDArray[np.int64]
Rows = Sequence[Sequence[Ids]]

SHAPE: dict[str, object] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 66,
    "pad_token_id": PAD_ID,
    # Wide enough that a wrong scale, mask or distance moves the answer far beyond the tolerance.
    "initializer_range": 0.5,
}
DEBERTA: dict[str, object] = {**SHAPE, "relative_attention": True, "pos_att_type": "p2c|c2p"}
LONGFORMER: dict[str, object] = {**SHAPE, "attention_window": [4, 8], "sep_token_id": SEPARATOR}


@dataclass(frozen=True)
class Variant:
    """A tiny model and what is special about asking it."""

    model: type[PreTrainedModel]
    config: type[PreTrainedConfig]
    settings: dict[str, object]
    fused: int = 2
    softmax: int = 0
    """Of rank other than 4: not attention."""
    shortest: int = 1
    is_question: bool = False
    """Sequences are `question, 2 separators, text, separator`."""


VARIANTS = {
    "MPNet": Variant(MPNetModel, MPNetConfig, SHAPE),
    "DeBERTa": Variant(DebertaModel, DebertaConfig, {**DEBERTA, "max_relative_positions": 6}),
    "DeBERTa-v3": Variant(
        DebertaV2Model,
        DebertaV2Config,
        {
            **DEBERTA,
            "share_att_key": True,
            "position_buckets": 8,
            "norm_rel_ebd": "layer_norm",
            "position_biased_input": False,
        },
    ),
    "DeBERTa-v2 with a convolution": Variant(
        DebertaV2Model,
        DebertaV2Config,
        {
            **DEBERTA,
            "share_att_key": True,
            "position_buckets": 8,
            "norm_rel_ebd": "layer_norm",
            "conv_kernel_size": 3,
            "conv_act": "gelu",
        },
    ),
    "DeBERTa-v2 with projections of its own": Variant(
        DebertaV2Model,
        DebertaV2Config,
        {**DEBERTA, "max_relative_positions": 7, "conv_kernel_size": 5, "conv_groups": 4},
    ),
    "DeBERTa-v2 with position to content alone": Variant(
        DebertaV2Model, DebertaV2Config, {**DEBERTA, "pos_att_type": "p2c", "position_buckets": 7}
    ),
    "Longformer": Variant(LongformerModel, LongformerConfig, LONGFORMER),
    "Longformer, first token global": Variant(
        LongformerForSequenceClassification, LongformerConfig, LONGFORMER, fused=4
    ),
    "Longformer, question global": Variant(
        LongformerForQuestionAnswering,
        LongformerConfig,
        LONGFORMER,
        fused=4,
        shortest=5,
        is_question=True,
    ),
    "ConvBERT": Variant(
        ConvBertModel,
        ConvBertConfig,
        {
            **SHAPE,
            "embedding_size": 16,
            "conv_kernel_size": 5,
            "num_groups": 2,
            # Its kernels multiply projections, and rounding with them.
            "initializer_range": 0.3,
        },
        softmax=2,
    ),
    "Funnel": Variant(
        FunnelModel,
        FunnelConfig,
        {
            "vocab_size": VOCABULARY,
            "pad_token_id": PAD_ID,
            "block_sizes": [1, 1, 1],
            "num_decoder_layers": 1,
            "d_model": 32,
            "n_head": 4,
            "d_head": 8,
            "d_inner": 48,
            "initializer_range": 0.5,
            "initializer_std": 0.3,
        },
        fused=4,
        # transformers fails on shorter ones.
        shortest=5,
    ),
}

PADDED = {1: (23,), 2: (9, 40), 5: (4, 40, 1, 17, 26)}
PACKED: dict[int, tuple[tuple[int, ...], ...]] = {
    1: ((7, 12, 1, 19),),
    2: ((13, 5), (3, 8, 2, 11)),
    5: ((30,), (6, 6, 6), (1, 1), (14, 2, 9), (4, 21)),
}
"""Rows -> lengths of the sequences in them. None is the length that is traced."""


class Backbone(nn.Module):
    """A model behind the inputs of a bundle."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: torch.Tensor, segment_ids: torch.Tensor, position_ids: torch.Tensor
    ) -> torch.Tensor:
        masks.current.get().segment_ids = segment_ids
        keywords = {"position_ids": position_ids}
        if getattr(self.model.config, "type_vocab_size", 0):
            keywords["token_type_ids"] = torch.zeros((1, 1), dtype=torch.long)
        mask = (segment_ids > 0).long()
        output = self.model(input_ids=input_ids, attention_mask=mask, **keywords)
        return cast("torch.Tensor", output.last_hidden_state)


@dataclass(frozen=True)
class Exported:
    variant: Variant
    model: PreTrainedModel
    converted: Converted
    path: Path
    session: Session


def tiny_model(variant: Variant, **changes: object) -> PreTrainedModel:
    torch.manual_seed(7)
    config = variant.config(**cast("dict[str, Any]", variant.settings | changes))
    model = variant.model(config)
    model.train(mode=False)
    return model


def export(model: PreTrainedModel) -> Converted:
    names = ("input_ids", "segment_ids", "position_ids")
    inputs = {name: torch.ones((3, 6), dtype=torch.long) for name in names}
    free = {name: {0: "rows", 1: "length"} for name in names}
    backbone = cast("PreTrainedModel", model.base_model)
    converted = convert(Backbone(backbone), Signature(inputs, free, ("states",)), model)
    fold(converted.model)
    return converted


@pytest.fixture(scope="module", params=VARIANTS)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    variant = VARIANTS[request.param]
    model = tiny_model(variant)
    converted = export(model)
    path = tmp_path_factory.mktemp("patched") / "model.onnx"
    ir.save(converted.model, path)
    return Exported(variant, model, converted, path, Session(path, SessionConfig()))


def draw(lengths: Sequence[Sequence[int]], variant: Variant) -> Rows:
    random = np.random.default_rng(20)

    def one(length: int) -> Ids:
        length = max(length, variant.shortest)
        ids = random.integers(SEPARATOR + 1, VOCABULARY, length)
        if variant.is_question:
            ids[[length // 3, length // 3 + 1, length - 1]] = SEPARATOR
        return ids

    return [[one(length) for length in row] for row in lengths]


def cases(variant: Variant) -> Iterator[tuple[str, Rows, int, int]]:
    """Yield name, sequences, padding before and padding after."""
    for rows, lengths in PADDED.items():
        alone = draw([(length,) for length in lengths], variant)
        yield f"right-padded, batch {rows}", alone, 0, 3
        yield f"left-padded, batch {rows}", alone, 3, 0
        yield f"unpadded, batch {rows}", alone, 0, 0
    for rows, packed in PACKED.items():
        yield f"packed, batch {rows}", draw(packed, variant), 0, 2


def run(session: Session, rows: Rows, before: int, after: int) -> list[NDArray[np.float32]]:
    """Return the states of each sequence; rows end together when `before` is set."""
    longest = max(sum(map(len, row)) for row in rows)
    shape = (len(rows), before + longest + after)
    feeds = {
        "input_ids": np.full(shape, PAD_ID, np.int64),
        "segment_ids": np.zeros(shape, np.int64),
        "position_ids": np.full(shape, OFFSET, np.int64),
    }
    places = []
    for index, row in enumerate(rows):
        start = before + longest - sum(map(len, row)) if before else 0
        for segment, ids in enumerate(row, start=1):
            place = (index, slice(start, start + len(ids)))
            feeds["input_ids"][place] = ids
            feeds["segment_ids"][place] = segment
            feeds["position_ids"][place] = OFFSET + np.arange(len(ids))
            places.append(place)
            start += len(ids)
    # Models without positions have no such input.
    (states,) = session.run({name: feeds[name] for name in session.input_names})
    return [states[place].astype(np.float32) for place in places]


def ask_pytorch(model: PreTrainedModel, ids: Ids) -> NDArray[np.float64]:
    """Return the states of one sequence alone, from the head's own call where there is one."""
    tokens = torch.from_numpy(ids).unsqueeze(0)
    positions = {"position_ids": torch.arange(len(ids)).unsqueeze(0) + OFFSET}
    with torch.inference_mode():
        output = model(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            output_hidden_states=True,
            **positions,
        )
    states: NDArray[np.float64] = output.hidden_states[-1][0].numpy()
    return states


def test_every_sequence_gives_what_pytorch_gives_for_it_alone(exported: Exported) -> None:
    reference = copy.deepcopy(exported.model).double()
    worst = {}
    for name, rows, before, after in cases(exported.variant):
        found = run(exported.session, rows, before, after)
        errors = []
        for states, ids in zip(found, itertools.chain(*rows), strict=True):
            expected = ask_pytorch(reference, ids)
            errors.append(np.abs(states - expected).max() / max(1, np.abs(expected).max()))
        worst[name] = max(errors)
    assert {name: error for name, error in worst.items() if not error <= TOLERANCE} == {}


def test_every_attention_is_one_fused_node(exported: Exported, tmp_path: Path) -> None:
    optimized = tmp_path / "optimized.onnx"
    Session(exported.path, SessionConfig(optimized_model_path=optimized))
    assert len(exported.converted.attention_classes) == exported.variant.fused
    assert count_fused(exported.converted.model) == exported.variant.fused
    assert count_fused(ir.load(optimized)) == exported.variant.fused
    softmax = [node for node in exported.converted.model.graph if node.op_type == "Softmax"]
    assert len(softmax) == exported.variant.softmax
    assert all(len(node.outputs[0].shape or ()) == 3 for node in softmax)


def test_a_model_answers_as_before_once_it_is_traced(exported: Exported) -> None:
    patched = [part for part in exported.model.modules() if "forward" in vars(part)]
    assert patched == []


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("DeBERTa", {"talking_head": True}, "mixes heads"),
        ("Funnel", {"separate_cls": False}, "separate_cls"),
        ("Longformer, question global", {"sep_token_id": None}, "sep_token_id"),
    ],
)
def test_what_a_patch_cannot_do_is_refused(
    name: str, changes: dict[str, object], said: str
) -> None:
    with pytest.raises(LoweringRefused, match=said):
        export(tiny_model(VARIANTS[name], **changes))


@pytest.mark.parametrize("length", [1, 2, 7])
def test_scores_by_distance_become_scores_of_pairs(length: int) -> None:
    by_distance = torch.randn(2, 3, length, 2 * length)
    with lowering.recording() as trace:
        trace.segment_ids = torch.ones((2, length), dtype=torch.long)
        steps = distances.steps().tolist()
    pairs = distances.by_pair(by_distance)
    for row, column in itertools.product(range(length), repeat=2):
        expected = by_distance[:, :, row, steps.index(column - row)]
        assert torch.equal(pairs[:, :, row, column], expected)


def test_buckets_beyond_the_limit_are_those_at_the_limit() -> None:
    with lowering.recording() as trace:
        trace.segment_ids = torch.ones((1, 5), dtype=torch.long)
        found = distances.buckets(lambda steps: 10 * steps, 3)
    assert found.tolist() == [-30, -30, -20, -10, 0, 10, 20, 30, 30, 30]
