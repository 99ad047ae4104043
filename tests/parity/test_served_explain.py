"""Attention over gRPC against PyTorch's eager attention: every layer and head, mean and rollout."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pytest
import torch
from checkpoints import FAMILIES, save_tokenizer
from loopback import Target, serve
from numpy.typing import NDArray
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from export.cli import main
from protos.heed.v1 import text_pb2 as pb

TOLERANCE = 1e-5
"""FP32 on probabilities."""

INPUTS = (
    pb.Input(text="word1"),
    pb.Input(text=" ".join(f"word{number % 35}" for number in range(50))),
    pb.Input(text="word3 word4 word5", pair="word6 word7"),
    pb.Input(text=""),
)

Attention = NDArray[np.float32]


@dataclass(frozen=True)
class Served:
    """A cross-encoder with random weights, in PyTorch and behind the server."""

    model: PreTrainedModel
    target: Target

    def explain(self, method: pb.ExplainMethod, **chosen: Any) -> list[pb.Explanation]:
        request = pb.ExplainRequest(model="tiny", inputs=INPUTS, method=method, **chosen)
        with self.target.text() as stub:
            answer: pb.ExplainResponse = stub.Explain(request, timeout=60)
        return list(answer.explanations)

    def eager(self, explanation: pb.Explanation) -> Attention:
        """Return (layers, heads, tokens, tokens) of the tokens that were served."""
        ids = torch.tensor([[token.id for token in explanation.tokens]])
        types = torch.tensor([[token.type_id for token in explanation.tokens]])
        with torch.inference_mode():
            output = self.model(input_ids=ids, token_type_ids=types, output_attentions=True)
        stacked: Attention = torch.cat(output.attentions).numpy()
        return stacked


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("explained")
    torch.manual_seed(11)
    config = AutoConfig.for_model("bert", **FAMILIES["bert"], num_labels=1)
    built = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]  # annotated in part
    model = cast("PreTrainedModel", built.eval())
    model.save_pretrained(root / "tiny")
    save_tokenizer(root / "tiny", 0)
    options = ["--out", str(root / "models"), "--no-measure", "--explain"]
    assert main([str(root / "tiny"), *options]) == 0
    model.set_attn_implementation("eager")
    with serve(root / "models") as running:
        yield Served(model, running)


def square(one: pb.AttentionMap, explanation: pb.Explanation) -> Attention:
    return np.array(one.weights, np.float32).reshape(len(explanation.tokens), -1)


def near(found: Attention, expected: Attention) -> None:
    assert np.abs(found - expected).max() <= TOLERANCE


def test_every_layer_and_head_is_that_of_eager_attention(served: Served) -> None:
    for explanation in served.explain(pb.EXPLAIN_METHOD_LAYERS_HEADS):
        expected = served.eager(explanation)
        assert len(explanation.maps) == expected.shape[0] * expected.shape[1]
        for one in explanation.maps:
            near(square(one, explanation), expected[one.layer, one.head])


def test_token_types_of_a_pair_reach_the_graph(served: Served) -> None:
    explanation = served.explain(pb.EXPLAIN_METHOD_LAYERS_HEADS)[2]
    expected = served.eager(explanation)
    for token in explanation.tokens:
        token.type_id = 0

    assert np.abs(served.eager(explanation) - expected).max() > TOLERANCE * 100


@pytest.mark.parametrize("chosen", [{}, {"layers": [1], "heads": [0, 3]}])
def test_mean_is_that_of_eager_attention(served: Served, chosen: dict[str, list[int]]) -> None:
    for explanation in served.explain(pb.EXPLAIN_METHOD_MEAN, **chosen):
        expected = picked(served.eager(explanation), chosen).mean(axis=(0, 1))
        near(square(explanation.maps[0], explanation), expected)


@pytest.mark.parametrize("chosen", [{}, {"layers": [1], "heads": [0, 3]}])
def test_rollout_is_that_of_eager_attention(served: Served, chosen: dict[str, list[int]]) -> None:
    for explanation in served.explain(pb.EXPLAIN_METHOD_ROLLOUT, **chosen):
        expected = np.eye(len(explanation.tokens), dtype=np.float32)
        for layer in picked(served.eager(explanation), chosen):
            expected = (0.5 * layer.mean(axis=0) + 0.5 * np.eye(len(layer[0]))) @ expected
        near(square(explanation.maps[0], explanation), expected)


def picked(attention: Attention, chosen: dict[str, list[int]]) -> Attention:
    layers, heads = attention.shape[:2]
    wanted = np.ix_(chosen.get("layers", range(layers)), chosen.get("heads", range(heads)))
    return attention[wanted]
