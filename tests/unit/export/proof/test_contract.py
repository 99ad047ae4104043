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
    assert contract.check(model(fused(0), fused(1)), ["Attention"] * 2) == ()


def test_a_missing_fused_node_breaks_it() -> None:
    with pytest.raises(ContractBroken, match="2 attention modules became 1 fused nodes"):
        contract.check(model(fused(0)), ["Attention"] * 2)


def test_a_rank_4_softmax_breaks_it_and_is_named() -> None:
    stray = softmax("stray", SCORES)
    stray.metadata_props.update({"module": "layers.3.attention", "class": "OddAttention"})
    with pytest.raises(ContractBroken, match=r"OddAttention at layers\.3\.attention was not fused"):
        contract.check(model(fused(0), stray), ["Attention"])


def test_what_stays_in_pieces_may_be_allowed_and_is_returned() -> None:
    stray = softmax("stray", SCORES)
    stray.metadata_props["class"] = "OddAttention"
    found = contract.check(model(fused(0), stray), ["Attention"], allow_unfused=True)
    assert found == ("OddAttention",)


def test_a_softmax_of_unknown_rank_counts_as_attention() -> None:
    with pytest.raises(ContractBroken, match="'unknown'"):
        contract.check(model(fused(0), softmax("unknown", None)), ["Attention"])


def test_probabilities_of_any_rank_that_weigh_values_are_attention() -> None:
    flat = softmax("flat", ("heads", "length", "length"))
    weighed = ir.node("MatMul", [flat.outputs[0], ir.val("values")], name="weighed")
    with pytest.raises(ContractBroken, match="'flat'"):
        contract.check(model(fused(0), flat, weighed), ["Attention"])


def test_a_softmax_over_classes_is_no_attention() -> None:
    graph = model(fused(0), softmax("classes", ("rows", 3)))
    assert contract.check(graph, ["Attention"]) == ()


def test_an_operator_of_the_same_name_in_another_domain_does_not_count() -> None:
    states = ir.val("states", ir.DataType.FLOAT, ["rows", "length", 8])
    other = ir.node("MultiHeadAttention", [states], domain="elsewhere", name="other")
    with pytest.raises(ContractBroken, match="1 attention modules became 0"):
        contract.check(model(other), ["Attention"])


def test_a_model_without_attention_is_named_as_such() -> None:
    with pytest.raises(ContractBroken, match="no attention at all"):
        contract.check(model(), [])
    assert contract.check(model(), [], allow_unfused=True) == ()


def test_every_violation_is_listed_at_once() -> None:
    broken = model(softmax("first", SCORES), softmax("second", SCORES))
    with pytest.raises(ContractBroken) as caught:
        contract.check(broken, ["Attention"] * 2)
    for part in ("2 attention modules became 0", "'first'", "'second'"):
        assert part in str(caught.value)


def test_the_session_must_run_as_many_as_were_written() -> None:
    contract.check_served(model(fused(0)), 1)
    with pytest.raises(ContractBroken, match="ONNX Runtime runs 1 fused nodes of 2"):
        contract.check_served(model(fused(0)), 2)
