"""Record what a function calls on the values that nodes give, as a graph of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from edgekit.fused import layers_kept
from edgekit.passes.writes import write_nothing

if TYPE_CHECKING:
    from torch.fx import Graph, Node


@dataclass(frozen=True)
class Trace:
    """What a function called.

    Attributes:
        graph: Its placeholders are the function's arguments.
        constants: Holds the tensors that the graph gets by name.
    """

    graph: Graph
    constants: Any


Traces = dict[Any, "Trace | None"]


def remembered(traces: Traces | None, key: Any, make: Callable[[], Trace | None]) -> Trace | None:
    """Return what was recorded under a key before, or record it."""
    if traces is None:
        return make()
    if key not in traces:
        traces[key] = make()
    return traces[key]


def kinds_of(function: Any, leaves: list[Any]) -> list[Any]:
    """Return what a trace depends on: the function; of nodes, which are one, shapes and types."""
    from torch.fx import Node as FxNode

    same = isinstance(function, partial)
    kinds: list[Any] = [(function.func, function.args) if same else function]
    places: dict[Node, int] = {}
    for leaf in leaves:
        if not isinstance(leaf, FxNode):
            kinds.append((type(leaf), leaf))
            continue
        value = leaf.meta["val"]
        told = (places.setdefault(leaf, len(places)), getattr(value, "dtype", None), *_sizes(value))
        kinds.append(told if _is_static(value) else object())
    return kinds


def told_apart(nodes: list[Node]) -> list[Any]:
    """Return the descriptions of nodes' values, one object per node: traces know them by that."""
    owners: dict[int, Node] = {}
    values = [(each, each.meta["val"]) for each in nodes]
    return [v if owners.setdefault(id(v), each) is each else v.detach() for each, v in values]


def trace(
    function: Callable[..., Any], values: list[Any], mode: Any, composites: bool
) -> Trace | None:
    """Record what a function calls; None where it declines.

    Args:
        function: The function.
        values: Its arguments, of the fake mode `mode`.
        mode: The fake mode.
        composites: Keep operators that PyTorch itself composes of others, such as ``linear``.
    """
    import torch
    from torch.fx.experimental.proxy_tensor import make_fx

    def plain(*inputs: Any) -> Any:
        result = function(*inputs)
        return tuple(result) if isinstance(result, tuple) else result  # without names of fields

    allowed = mode.allow_non_fake_inputs
    mode.allow_non_fake_inputs = True
    try:
        with mode, layers_kept(), torch.no_grad():
            # The function is asked first: to set up PyTorch's own trace takes longer.
            result, calls = _called(plain, values)
            if result is NotImplemented:
                return None
            graph = None if composites else _written(values, calls, result)
            if graph is not None:
                return Trace(graph, None)
            traced = make_fx(plain, pre_dispatch=composites)(*values)
            write_nothing(traced.graph)  # what is left is for `edgekit.passes.functionalize`
    finally:
        mode.allow_non_fake_inputs = allowed
    traced.graph.eliminate_dead_code()
    return Trace(traced.graph, traced)


# -- Parts -----------------------------------------------------------------------------------------

Calls = list[tuple[Any, Any, Any, Any]]


def _called(function: Callable[..., Any], values: list[Any]) -> tuple[Any, Calls]:
    """Call a function; return its result and what it called: operator, arguments, result."""
    from torch.utils._python_dispatch import TorchDispatchMode

    calls: Calls = []

    class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(
            self, called: Any, _types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            result = called(*args, **(kwargs or {}))
            calls.append((called, args, kwargs or {}, result))
            return result

    with Recorder():  # type: ignore[no-untyped-call]
        return function(*values), calls


def _written(values: list[Any], calls: Calls, result: Any) -> Graph | None:
    """Write calls as a graph where that is plain: fixed shapes, single results, no constants."""
    import torch
    from torch.fx import Graph as FxGraph
    from torch.utils import _pytree as pytree

    graph = FxGraph()
    nodes = {id(value): graph.placeholder(f"x{i}") for i, value in enumerate(values)}

    def node_of(value: Any) -> Any:
        return nodes[id(value)] if isinstance(value, torch.Tensor) else value

    if not all(map(_is_static, values)):
        return None
    try:
        for called, args, kwargs, made in calls:
            if not isinstance(made, torch.Tensor) or called._schema.is_mutable:  # noqa: SLF001
                return None
            node = graph.call_function(called, *pytree.tree_map(node_of, (args, kwargs)))
            node.meta["val"] = made
            nodes[id(made)] = node
        graph.output(pytree.tree_map(node_of, result))
    except KeyError:  # a tensor from elsewhere
        return None
    graph.eliminate_dead_code()
    return graph


def _is_static(value: Any) -> bool:
    return all(type(size) is int for size in _sizes(value))


def _sizes(value: Any) -> tuple[Any, ...]:
    return (*value.shape, *value.stride()) if hasattr(value, "shape") else (None,)
