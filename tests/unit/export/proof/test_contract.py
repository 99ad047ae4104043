"""The contract on planted graphs: one that keeps it, and each way to break it."""

import onnx_ir as ir
import pytest

from export.errors import ContractBroken
from export.proof import contract

SCORES = ("rows", 4, "length", "length")


def fused(number: int) -> ir.Node:
    states = ir.val(f"states{number}", ir.DataType.FLOAT, ["rows", "length", 8])
    return ir.node("MultiHeadAttention", [states] * 3, domain="com.microsoft", name=f"mha{number}")


def softmax(name: str, shape: tuple[str | int, ...] | None) -> ir.Node:
    node = ir.node("Softmax", [ir.val(f"{name}.input")], name=name)
    node.outputs[0].shape = None if shape is None else ir.Shape(shape)
    return node


def model(*nodes: ir.Node) -> ir.Model:
    graph = ir.Graph(
        [], [], nodes=nodes, opset_imports={"": 20, "com.microsoft": 1}, name="planted"
    )
    return ir.Model(graph, ir_version=10)


def test_one_fused_node_for_each_module_keeps_the_contract() -> None:
    assert contract.check(model(fused(0), fused(1)), attention_modules=2) == 2


def test_a_missing_fused_node_breaks_it() -> None:
    with pytest.raises(ContractBroken, match="2 attention modules became 1 MultiHeadAttention"):
        contract.check(model(fused(0)), attention_modules=2)


def test_a_rank_4_softmax_breaks_it_and_is_named() -> None:
    with pytest.raises(ContractBroken, match="'stray' is attention that was not fused"):
        contract.check(model(fused(0), softmax("stray", SCORES)), attention_modules=1)


def test_a_softmax_of_unknown_rank_counts_as_attention() -> None:
    with pytest.raises(ContractBroken, match="'unknown'"):
        contract.check(model(fused(0), softmax("unknown", None)), attention_modules=1)


def test_a_softmax_over_classes_is_no_attention() -> None:
    assert (
        contract.check(model(fused(0), softmax("classes", ("rows", 3))), attention_modules=1) == 1
    )


def test_an_operator_of_the_same_name_in_another_domain_does_not_count() -> None:
    states = ir.val("states", ir.DataType.FLOAT, ["rows", "length", 8])
    other = ir.node("MultiHeadAttention", [states], domain="elsewhere", name="other")
    with pytest.raises(ContractBroken, match="1 attention modules became 0"):
        contract.check(model(other), attention_modules=1)


def test_a_model_without_attention_modules_breaks_it() -> None:
    with pytest.raises(ContractBroken, match="does not use transformers' AttentionInterface"):
        contract.check(model(), attention_modules=0)


def test_every_violation_is_listed_at_once() -> None:
    broken = model(softmax("first", SCORES), softmax("second", SCORES))
    with pytest.raises(ContractBroken) as caught:
        contract.check(broken, attention_modules=2)
    for part in ("2 attention modules became 0", "'first'", "'second'"):
        assert part in str(caught.value)
