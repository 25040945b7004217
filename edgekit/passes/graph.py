"""What passes do to a graph: replace a node by a function of its arguments, and add constants.

The record of an exported program names its nodes in three places: the graph, the signature and the
stores of weights and constants.  Passes change programs through these verbs, which keep the three
in step.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from edgekit.passes.tracing import Trace, Traces, kinds_of, remembered, told_apart, trace

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram
    from torch.fx import Node

_KEPT = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn")  # whose line it is


def calls(exported: ExportedProgram) -> list[Node]:
    """Return the nodes that call an operator, in order."""
    return [
        node
        for node in exported.graph.nodes
        if node.op == "call_function" and hasattr(node.target, "_schema")
    ]


def name_of(node: Node) -> str:
    """Return the operator that a node calls, as in ``aten.add.Tensor``."""
    return str(node.target)


def replace_node(exported: ExportedProgram, old: Node, new: Node) -> None:
    """Let everything that reads `old` read `new`, and erase `old`."""
    old.replace_all_uses_with(new)
    for spec in exported.graph_signature.output_specs:
        if getattr(spec.arg, "name", None) == old.name:
            spec.arg.name = new.name
    exported.graph.erase_node(old)


def constant(exported: ExportedProgram, tensor: torch.Tensor, *, weight: bool) -> Node:
    """Add a constant to the program; return the node that brings it in.

    Args:
        exported: The program.
        tensor: The value.
        weight: Whether it was computed from weights, and so is stored and counted as one.
    """
    import torch
    from torch.export.graph_signature import InputKind, InputSpec, TensorArgument

    signature = exported.graph_signature
    store = exported.state_dict if weight else exported.constants
    name = _free_name({*exported.state_dict, *exported.constants})
    place = _first_user_input(exported)
    with exported.graph.inserting_before(place):
        node: Node = exported.graph.placeholder(f"c_{name}")
    tensor = tensor.detach().clone(memory_format=torch.contiguous_format)
    node.meta["val"] = fake_mode(exported).from_tensor(tensor, static_shapes=True)
    kind = InputKind.BUFFER if weight else InputKind.CONSTANT_TENSOR
    spec = InputSpec(kind, TensorArgument(node.name), name, True if weight else None)
    index = next(
        (i for i, s in enumerate(signature.input_specs) if s.kind is InputKind.USER_INPUT),
        len(signature.input_specs),
    )
    signature.input_specs.insert(index, spec)
    store[name] = tensor
    return node


def fake_mode(exported: ExportedProgram) -> Any:
    """Return the mode that the program's value descriptions belong to."""
    from torch._subclasses import FakeTensor

    for node in exported.graph.nodes:
        value = node.meta.get("val")
        for each in value if isinstance(value, tuple | list) else (value,):
            if isinstance(each, FakeTensor):
                return each.fake_mode
    from torch._subclasses import FakeTensorMode

    return FakeTensorMode(allow_non_fake_inputs=True)


@contextmanager
def computed_now() -> Iterator[None]:
    """Compute on real tensors inside a function that is being traced: the result is a constant."""
    from torch.utils._python_dispatch import _disable_current_modes

    with _disable_current_modes():
        yield


def expand(
    exported: ExportedProgram,
    node: Node,
    function: Callable[..., Any],
    *,
    composites: bool = True,
    traces: Traces | None = None,
) -> bool:
    """Replace a node by the operators that `function` calls, given the node's own arguments.

    Args:
        exported: The program.
        node: The node.
        function: What to put in its place.
        composites: Keep operators that PyTorch itself composes of others, such as ``linear``.
        traces: What functions called before, for arguments of the same kinds: most models repeat
            themselves.

    Returns:
        False, and the node stays as it is, where the function returns NotImplemented.

    Raises:
        ValueError: the function's result has another shape or type than the node's.
    """
    from torch.fx import Node as FxNode
    from torch.utils import _pytree as pytree

    leaves, layout = pytree.tree_flatten((node.args, node.kwargs))
    nodes = [leaf for leaf in leaves if isinstance(leaf, FxNode)]

    def on_values(*values: Any) -> Any:
        rest = iter(values)
        filled = [next(rest) if isinstance(leaf, FxNode) else leaf for leaf in leaves]
        args, kwargs = pytree.tree_unflatten(filled, layout)
        return function(*args, **kwargs)

    key = (composites, str(layout), *kinds_of(function, leaves))
    mode, values = fake_mode(exported), told_apart(nodes)
    traced = remembered(traces, (mode, *key), lambda: trace(on_values, values, mode, composites))
    if traced is None:
        return False
    results = _splice(exported, node, traced, nodes)
    _check(node, results)
    _hand_over(exported, node, results)
    return True


def spliced(
    exported: ExportedProgram,
    node: Node,
    function: Callable[..., tuple[Any, ...]],
    pairs: dict[Node, tuple[Node, Node]],
    joined: Callable[[Any, Any], Any],
) -> list[Any]:
    """Write what `function` calls before a node, which stays; return the nodes of its results.

    Args:
        exported: The program.
        node: The node whose arguments the function is given.
        function: What to write.
        pairs: Arguments that two nodes stand for.
        joined: What makes one value of two.
    """
    from torch.fx import Node as FxNode
    from torch.utils import _pytree as pytree

    leaves, layout = pytree.tree_flatten((node.args, node.kwargs))
    nodes: list[Node] = []
    for leaf in leaves:
        if isinstance(leaf, FxNode):
            nodes += pairs.get(leaf, (leaf,))

    def on_values(*values: Any) -> Any:
        rest = iter(values)
        filled = [
            leaf
            if not isinstance(leaf, FxNode)
            else joined(next(rest), next(rest))
            if leaf in pairs
            else next(rest)
            for leaf in leaves
        ]
        args, kwargs = pytree.tree_unflatten(filled, layout)
        return function(*args, **kwargs)

    traced = trace(on_values, told_apart(nodes), fake_mode(exported), composites=False)
    assert traced is not None
    return _splice(exported, node, traced, nodes)


# -- Parts -----------------------------------------------------------------------------------------


def _splice(exported: ExportedProgram, node: Node, traced: Trace, inputs: list[Node]) -> list[Any]:
    """Copy a traced graph before a node; return the nodes (or numbers) that are its results."""
    into: dict[Any, Any] = dict(zip(traced.graph.find_nodes(op="placeholder"), inputs, strict=True))
    origin = {key: node.meta[key] for key in _KEPT if key in node.meta}
    for each in traced.graph.nodes:
        if each.op == "get_attr":
            into[each] = constant(exported, getattr(traced.constants, each.target), weight=False)
        elif each.op == "call_function":
            with exported.graph.inserting_before(node):
                into[each] = exported.graph.node_copy(each, into.__getitem__)
            into[each].meta = {**origin, "val": each.meta["val"]}
    (results,) = traced.graph.output_node().args
    flat = results if isinstance(results, tuple | list) else [results]
    return [into.get(each, each) for each in flat]


def _check(node: Node, results: list[Any]) -> None:
    """Refuse a result that has another shape or type than the node's."""
    wanted = node.meta["val"]
    for want, result in zip(
        wanted if isinstance(wanted, tuple | list) else [wanted], results, strict=False
    ):
        got = result.meta["val"] if hasattr(result, "meta") else result
        if want is None or not hasattr(want, "shape") or not hasattr(got, "shape"):
            continue
        if want.dtype != got.dtype or len(want.shape) != len(got.shape):
            raise ValueError(
                f"{name_of(node)} gives {want.dtype}{list(want.shape)}, its rewrite "
                f"{got.dtype}{list(got.shape)}"
            )


def _hand_over(exported: ExportedProgram, node: Node, results: list[Any]) -> None:
    """Let the readers of a node read the results, each of its own where there are several."""
    if not isinstance(node.meta["val"], tuple | list):
        replace_node(exported, node, results[0])
        return
    for user in list(node.users):
        assert user.target is operator.getitem
        index: Any = user.args[1]
        replace_node(exported, user, results[index])
    exported.graph.erase_node(node)


def _first_user_input(exported: ExportedProgram) -> Node:
    names = set(exported.graph_signature.user_inputs)
    nodes: list[Node] = list(exported.graph.nodes)
    return next((n for n in nodes if n.op != "placeholder" or n.name in names), nodes[0])


def _free_name(taken: set[str]) -> str:
    return next(f"folded_{i}" for i in range(len(taken) + 1) if f"folded_{i}" not in taken)
