"""Parts of a program: some of its operators in a row, as a program of their own.

What the part reads from before it becomes its inputs, with the values that they have in the whole;
what nothing in it reads becomes its outputs.  Sizes are those of the first sample.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgekit.arguments import identifier
from edgekit.errors import UsageError
from edgekit.exporting import export, to_numpy
from edgekit.passes.graph import calls
from edgekit.program import Program
from edgekit.runtimes import Arrays
from edgekit.source import Source

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram
    from torch.fx import Node

Values = dict[str, Any]  # by the name of the node that has it


def steps(exported: ExportedProgram) -> list[Node]:
    """Return the operators that parts are cut between, in the order of computation."""
    return [node for node in calls(exported) if node.users]


def cut(program: Program, chosen: Sequence[int]) -> Program:
    """Return the steps of these numbers as a program.

    Raises:
        UsageError: nothing that they compute is a tensor.
    """
    exported = program.exported
    every = steps(exported)
    inside = {every[index] for index in chosen}
    inside |= {node for node in _picks(exported) if node.all_input_nodes[0] in inside}
    sets = [_values(exported, sample) for sample in program.samples]
    sets = [each for each in sets if _shapes(each) == _shapes(sets[0])]
    module, given = _module(exported, inside, sets[0])
    samples = [{name: to_numpy(each[node]) for name, node in given.items()} for each in sets]
    examples = {name: sets[0][node] for name, node in given.items()}
    source = Source(module, examples, program.metadata, program.origin)
    return replace(export(source, samples=samples), metadata=program.metadata)


# -- Details ---------------------------------------------------------------------------------------


def _picks(exported: ExportedProgram) -> list[Node]:
    """Return the nodes that take one of several results, which go where their operator goes."""
    return [node for node in exported.graph.nodes if node.target is operator.getitem]


def _values(exported: ExportedProgram, sample: Arrays) -> Values:
    """Compute every value of the program."""
    import torch
    from torch.fx.node import map_arg

    stores = {**exported.constants, **exported.state_dict}
    values: Values = {
        spec.arg.name: stores.get(spec.target or "")
        for spec in exported.graph_signature.input_specs
    }
    values |= {name: torch.from_numpy(array.copy()) for name, array in sample.items()}
    with torch.no_grad():
        for node in exported.graph.nodes:
            if node.op == "get_attr":
                values[node.name] = getattr(exported.graph_module, node.target)
            elif node.op == "call_function":
                args, kwargs = map_arg((node.args, node.kwargs), lambda each: values[each.name])
                values[node.name] = node.target(*args, **kwargs)
    return values


def _shapes(values: Values) -> dict[str, Any]:
    return {name: getattr(value, "shape", None) for name, value in values.items()}


def _module(
    exported: ExportedProgram, inside: set[Node], values: Values
) -> tuple[torch.nn.Module, dict[str, str]]:
    """Return the operators as a module, and which node's value each of its arguments is."""
    import torch

    given = set(exported.graph_signature.user_inputs)
    root, graph = torch.nn.Module(), torch.fx.Graph()
    into: dict[Any, Any] = {}
    arguments: dict[str, str] = {}
    outside = [n for n in exported.graph.nodes if n not in inside and set(n.users) & inside]
    tensors = [node for node in outside if isinstance(values[node.name], torch.Tensor)]
    for node in tensors:
        if node.op != "placeholder" or node.name in given:
            name = identifier(node.name)
            into[node] = graph.placeholder(name)
            arguments[name] = node.name
    for node in outside:
        value = values[node.name]
        if node in into:
            continue
        if isinstance(value, (torch.Tensor, torch.nn.Module)):
            if isinstance(value, torch.nn.Module):
                root.add_module(node.name, value)
            else:
                root.register_buffer(node.name, value.detach())
            into[node] = graph.get_attr(node.name)
        else:
            into[node] = value  # a size: parts have fixed ones
    for node in exported.graph.nodes:
        if node in inside:
            into[node] = graph.node_copy(node, into.__getitem__)
    ends = [
        node for node in exported.graph.nodes if node in inside and not set(node.users) & inside
    ]
    results = {
        identifier(node.name): into[node]
        for node in ends
        if isinstance(values[node.name], torch.Tensor)
    }
    if not results:
        raise UsageError("This part of the model computes no tensor.")
    graph.output(results)
    return torch.fx.GraphModule(root, graph), arguments
