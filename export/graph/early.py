"""Choose tokens before the last layer instead of after it.

A head that reads one token of each sequence, [CLS] or the last, needs of the last layer the keys
and values of every token but the rest of one token alone. Every operator behind the attention acts
on each token by itself, so the choice moves in front of them, up to the query: of six layers' work
one seventh goes, of twelve one fifteenth. Exact; means over tokens stay as they are. No torch.
"""

import onnx_ir as ir
from onnx_ir.passes import common

from export.graph.builder import Builder
from export.graph.fused import FUSED, GROUP_QUERY
from export.graph.operands import bias_index

CHOSEN = "chosen"
"""Name of the dimension that `length` becomes."""

_BY_TOKEN = frozenset(
    {"Add", "Sub", "Mul", "Div", "Erf", "Gelu", "LayerNormalization", "MatMul", "Relu",
     "RMSNormalization", "Sigmoid", "SimplifiedLayerNormalization", "Softplus", "Sqrt", "Tanh"}
)  # fmt: skip
"""Operators that leave tokens apart, as long as whatever else they read has no tokens."""

_STATES_RANK = 3


def select_early(model: ir.Model) -> int:
    """Move the choice of tokens up, and return how many nodes now compute the chosen ones alone."""
    moved = 0
    for node in list(model.graph):
        if _chooses_tokens(node):
            moved += _move(model.graph, node)
    if moved:
        # The new nodes were written at the end of the graph.
        model.graph.sort()
        common.RemoveUnusedNodesPass()(model)
    return moved


def _chooses_tokens(node: ir.Node) -> bool:
    """Whether a node takes (rows, length, width) to (rows, chosen, width) by index."""
    if node.op_type != "GatherND" or node.attributes.get_int("batch_dims", 0) != 1:
        return False
    states, places = node.inputs
    before = None if places is None else places.producer()
    if states is None or before is None or before.op_type != "Unsqueeze":
        return False
    axes = before.inputs[1].const_value if before.inputs[1] is not None else None
    # One number for each choice: the token's place in its row.
    single = axes is not None and axes.numpy().tolist() in ([2], [-1])
    return single and states.shape is not None and states.shape.rank() == _STATES_RANK


def _move(graph: ir.Graph, choice: ir.Node) -> int:
    useless = _useless(graph, choice)
    if not useless:
        return 0
    states, places = choice.inputs
    assert states is not None
    assert places is not None
    chosen = _Chosen(graph, places, useless)
    result = chosen.of(states)
    old = choice.outputs[0]
    result.shape, result.type = old.shape, old.type
    ir.convenience.replace_all_uses_with(old, result, replace_graph_outputs=True)
    return len(useless)


def _useless(graph: ir.Graph, choice: ir.Node) -> set[ir.Node]:
    """Return the nodes all of whose results are thrown away but for the chosen tokens."""
    found: set[ir.Node] = set()
    for node in reversed(list(graph)):
        output = node.outputs[0]
        uses = list(output.uses())
        if not uses or output.is_graph_output() or not _keeps_tokens_apart(node):
            continue
        # The first input of the choice and of attention alone: keys are needed of every token.
        if all(
            (use.node is choice and use.idx == 0)
            or (use.node in found and (use.idx == 0 or not _is_fused(use.node)))
            for use in uses
        ):
            found.add(node)
    return found


def _is_fused(node: ir.Node) -> bool:
    return (node.domain, node.op_type) in FUSED


def _keeps_tokens_apart(node: ir.Node) -> bool:
    if _is_fused(node):
        # GroupQueryAttention wants as many queries as keys.
        return node.op_type != GROUP_QUERY and _can_choose_queries(_bias(node))
    if node.domain not in {"", "com.microsoft"} or node.op_type not in _BY_TOKEN:
        return False
    if len(node.outputs) != 1 or _tokens(node.outputs[0]) is None:
        return False
    return all(
        value is None or _is_constant(value) or _tokens(value) == _tokens(node.outputs[0])
        for value in node.inputs
    )


def _tokens(value: ir.Value) -> tuple[object, object] | None:
    """Return rows and length of token states, or None for anything else."""
    shape, node = value.shape, value.producer()
    if shape is not None:
        return (shape[0], shape[1]) if shape.rank() == _STATES_RANK else None
    # The exporter does not record the shape of a product before its bias.
    if node is None or node.op_type != "MatMul" or node.inputs[0] is None:
        return None
    return _tokens(node.inputs[0])


def _is_constant(value: ir.Value) -> bool:
    """Whether a value is the same for every token: a matrix of weights, a vector or a number."""
    tensor = value.const_value
    if tensor is None:
        return False
    sizes = tensor.shape.numpy()
    node_uses_as_weight = all(use.node.op_type == "MatMul" for use in value.uses())
    return node_uses_as_weight or all(size == 1 for size in sizes[:-1])


def _bias(node: ir.Node) -> ir.Value | None:
    index = bias_index(node)
    return node.inputs[index] if index < len(node.inputs) else None


def _can_choose_queries(bias: ir.Value | None) -> bool:
    """Whether a bias is one matrix for each row, so that lines of it can be taken by row."""
    return bias is None or (
        bias.shape is not None
        and bias.shape.rank() == _STATES_RANK + 1
        and bias.shape[1] == 1
        and bias.shape[0] != 1
    )


class _Chosen:
    """Writes the nodes again for the chosen tokens."""

    def __init__(self, graph: ir.Graph, places: ir.Value, useless: set[ir.Node]) -> None:
        self._graph = graph
        self._build = Builder(graph, "chosen")
        self._places = places
        self._useless = useless
        self._known: dict[ir.Value, ir.Value] = {}

    def of(self, value: ir.Value) -> ir.Value:
        """Return a value for the chosen tokens."""
        if value not in self._known:
            node = value.producer()
            again = node is not None and node in self._useless
            self._known[value] = self._again(node) if again and node else self._gather(value)
        return self._known[value]

    def _gather(self, value: ir.Value) -> ir.Value:
        chosen = self._build.op("GatherND", [value, self._places], batch_dims=1)
        return _shaped(chosen, value)

    def _again(self, node: ir.Node) -> ir.Value:
        inputs = list(node.inputs)
        if _is_fused(node):
            assert inputs[0] is not None
            inputs[0] = self.of(inputs[0])
            bias = _bias(node)
            if bias is not None:
                inputs[bias_index(node)] = self._lines(bias)
        else:
            inputs = [
                value if value is None or _is_constant(value) else self.of(value)
                for value in inputs
            ]
        copy = ir.Node(
            node.domain,
            node.op_type,
            inputs,
            attributes=list(node.attributes.values()),
            name=node.name,
            metadata_props=dict(node.metadata_props),
        )
        node.name = None
        self._graph.append(copy)
        return _shaped(copy.outputs[0], node.outputs[0])

    def _lines(self, bias: ir.Value) -> ir.Value:
        """Take the chosen queries out of (rows, 1, length, length)."""
        heads = self._build.integers("heads", [1])
        by_row = self._build.op("Squeeze", [bias, heads])
        lines = self._build.op("GatherND", [by_row, self._places], batch_dims=1)
        return self._build.op("Unsqueeze", [lines, heads])


def _shaped(value: ir.Value, like: ir.Value) -> ir.Value:
    value.type = like.type
    if like.shape is not None:
        value.shape = ir.Shape([like.shape[0], CHOSEN, *list(like.shape)[2:]])
    return value
