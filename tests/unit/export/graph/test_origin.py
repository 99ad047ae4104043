import onnx_ir as ir

from export.graph.origin import keep_origins


def node(name: str, op_type: str = "MultiHeadAttention", domain: str = "com.microsoft") -> ir.Node:
    made = ir.node(op_type, [ir.val("states")], domain=domain, name=name)
    made.metadata_props.update(
        {
            "pkg.torch.onnx.name_scopes": "['', 'base', 'base.layer.0.attention', 'op']",
            "pkg.torch.onnx.class_hierarchy": "['Wrapper', 'a.b.Model', 'a.b.Attention', 'aten']",
            "pkg.torch.onnx.stack_trace": 'File "somewhere.py"',
        }
    )
    return made


def model(*nodes: ir.Node) -> ir.Model:
    graph = ir.Graph([], [], nodes=nodes, opset_imports={"": 20}, name="one")
    return ir.Model(graph, ir_version=10)


def test_module_and_class_are_kept_and_paths_of_the_machine_are_not() -> None:
    one = node("n0")
    keep_origins(model(one))
    assert dict(one.metadata_props) == {"module": "layer.0.attention", "class": "Attention"}


def test_fused_nodes_are_named_after_their_module_and_stay_unique() -> None:
    first, second, other = node("n0"), node("n1"), node("n2", "MatMul", "")
    keep_origins(model(first, second, other))
    assert (first.name, second.name) == ("layer.0.attention", "layer.0.attention#2")
    assert other.name == "n2"


def test_a_node_of_no_module_has_no_origin() -> None:
    bare = ir.node("Add", [ir.val("states")], name="bare")
    keep_origins(model(bare))
    assert not bare.metadata_props
