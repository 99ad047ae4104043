"""Explaining graphs of every form that an export writes, and ones that nobody should."""

from pathlib import Path

import bundles
import numpy as np
import onnx
import onnx.parser
import pytest

from server.batching.packing import TokenSequence
from server.errors import BundleCorrupt, InvalidRequest
from server.repository.bundle import Bundle, digest_file
from server.repository.manifest import Explain, TensorSpec
from server.runtime.session import SessionConfig, Stop
from server.tasks.explain_graph import ExplainGraph

SEQUENCE = TokenSequence(np.array([2, 7, 3], np.int64), np.arange(3, dtype=np.int64))
SQUARE = (-1, 1, -1, -1)


def specs(**outputs: tuple[int, ...]) -> Explain:
    return Explain(
        "explain.onnx",
        tuple(TensorSpec(name.replace("_", "."), "FP32", shape) for name, shape in outputs.items()),
    )


def graph(folder: Path, text: str, explain: Explain) -> ExplainGraph:
    """Write a graph from ids to whatever the text computes."""
    header = '<ir_version: 10, opset_import: ["" : 20]>'
    model = onnx.parser.parse_model(f"{header} explain {text}")
    for value in model.graph.output:
        # The text form has no dots in names.
        for node in model.graph.node:
            node.output[:] = [
                name.replace("_", ".") if name == value.name else name for name in node.output
            ]
        value.name = value.name.replace("_", ".")
    onnx.save(model, folder / explain.model)
    files = {explain.model: digest_file(folder / explain.model)}
    bundle = Bundle(folder, bundles.manifest("tiny", 1, files=files), "")
    return ExplainGraph(bundle, explain, SessionConfig())


def of_layers(count: int) -> str:
    """Return a graph whose layer i answers i for each pair of tokens."""
    outputs = ", ".join(f"float[rows, 1, length, length] attentions_{i}" for i in range(count))
    body = "\n".join(
        f"""
        number_{i} = Constant <value_float = {float(i)}> ()
        attentions_{i} = Add (square, number_{i})
        """
        for i in range(count)
    )
    return f"""(int64[rows, length] input_ids) => ({outputs}) {{
        zero = Constant <value_int = 0> ()
        nothing = Mul (input_ids, zero)
        flat = Cast <to = 1> (nothing)
        across = Constant <value_ints = [1, 2]> ()
        down = Constant <value_ints = [1, 3]> ()
        keys = Unsqueeze (flat, across)
        queries = Unsqueeze (flat, down)
        square = Add (queries, keys)
        {body}
    }}"""


def test_layers_apart_come_by_their_number(tmp_path: Path) -> None:
    outputs = {f"attentions_{index}": SQUARE for index in reversed(range(12))}
    one = graph(tmp_path, of_layers(12), specs(**outputs, rollout=(-1, -1, -1)))

    layers, run_s = one.run(SEQUENCE, Stop())
    one.close()

    assert [float(layer[0, 1, 2]) for layer in layers] == list(range(12))
    assert {layer.shape for layer in layers} == {(1, 3, 3)}
    assert run_s > 0


def test_layers_may_differ_in_heads(tmp_path: Path) -> None:
    explain = specs(attentions_0=(-1, 4, -1, -1), attentions_1=(-1, 2, -1, -1))

    assert graph(tmp_path, of_layers(2), explain).num_heads == (4, 2)


def test_a_graph_that_was_replaced_since_the_load_is_refused(tmp_path: Path) -> None:
    one = graph(tmp_path, of_layers(1), specs(attentions_0=SQUARE))
    (tmp_path / "explain.onnx").write_bytes(b"another")

    with pytest.raises(BundleCorrupt, match="load the model again"):
        one.run(SEQUENCE, Stop())


@pytest.mark.parametrize(
    "explain",
    [
        specs(rollout=(-1, -1, -1)),
        specs(attentions=(2, -1, -1, -1, -1)),
        specs(attentions=()),
        specs(attentions_0=()),
    ],
)
def test_a_manifest_must_say_how_many_heads_there_are(explain: Explain, tmp_path: Path) -> None:
    with pytest.raises(BundleCorrupt, match="how many layers and heads"):
        graph(tmp_path, of_layers(1), explain)


@pytest.mark.parametrize(
    ("explain", "hint"),
    [
        (specs(attentions_0=(-1, 2, -1, -1)), r"returns \(1,\) heads .* says \(2,\)"),
        (specs(attentions_0=SQUARE, attentions_1=SQUARE), r"lacks \['attentions.1'\]"),
    ],
)
def test_a_graph_must_be_what_the_manifest_says(
    explain: Explain, hint: str, tmp_path: Path
) -> None:
    one = graph(tmp_path, of_layers(1), explain)

    with pytest.raises(BundleCorrupt, match=hint):
        one.run(SEQUENCE, Stop())


def test_attention_to_something_else_than_the_tokens_is_refused(tmp_path: Path) -> None:
    pooled = """(int64[rows, length] input_ids) => (float[rows, 1, length, 1] attentions_0) {
        flat = Cast <to = 1> (input_ids)
        axes = Constant <value_ints = [1, 3]> ()
        attentions_0 = Unsqueeze (flat, axes)
    }"""

    with pytest.raises(InvalidRequest, match="between 3 and 1 places, not between its 3 tokens"):
        graph(tmp_path, pooled, specs(attentions_0=SQUARE)).run(SEQUENCE, Stop())
