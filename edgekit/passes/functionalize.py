"""Turn operators that write into their arguments into ones that return new tensors.

Converters and passes read a graph as a set of equations; ``relu_`` or ``mask[:, 0] = 1`` is none.
PyTorch's own functionalization does this, and writes views (``flatten``, ``to``) in few operators.
It traces the whole model anew, which takes as long as some converters.  Most models need a change
in few places only, which are rewritten where they stand, to the same operators.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from edgekit.fused import layers_kept
from edgekit.passes import PassResult
from edgekit.passes.graph import calls, expand, fake_mode, name_of, replace_node
from edgekit.passes.tracing import Traces
from edgekit.passes.writes import is_composed_view, mutates, write_nothing
from edgekit.quiet import quiet

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import Node


def run(exported: ExportedProgram) -> PassResult:
    """Functionalize the program."""
    if exported.dialect == "ATEN" and not any(map(mutates, calls(exported))):
        return PassResult(exported, 0, ("it is functional already",))
    before = [name_of(node) for node in calls(exported)]
    exported = in_dialect(exported)
    after = [name_of(node) for node in calls(exported)]
    return PassResult(exported, sum(a != b for a, b in zip(before, after, strict=False)))


def in_dialect(exported: ExportedProgram) -> ExportedProgram:
    """Return the program in the dialect ATEN, its operators as they are; it may be changed."""
    with quiet(), layers_kept():
        if _is_plain(exported) and _rewritten(exported):
            return _as_functional(exported)
        functional: ExportedProgram = exported.run_decompositions({})
    return functional


# -- The short way ---------------------------------------------------------------------------------


def _is_plain(exported: ExportedProgram) -> bool:
    """Whether the program is one graph over ordinary tensors."""
    import torch

    graphs = [each for each in exported.graph_module.modules() if hasattr(each, "graph")]
    stored = {*map(type, exported.state_dict.values())}
    return len(graphs) == 1 and stored <= {torch.Tensor, torch.nn.Parameter}


def _rewritten(exported: ExportedProgram) -> bool:
    """Bring all operators into the dialect; False where one takes a look at the whole graph."""
    with fake_mode(exported):
        for node in calls(exported):
            if _returns_its_argument(node):
                replace_node(exported, node, node.all_input_nodes[0])
            elif name_of(node) == "aten.batch_norm.default" and not node.args[5]:
                _write_batch_norm(exported, node)
        functional = write_nothing(exported.graph)
        _name_outputs(exported)
    traces: Traces = {}
    while functional and (todo := [(node, how) for node in calls(exported) if (how := _way(node))]):
        for node, how in todo:
            expand(exported, node, how, composites=False, traces=traces)
    return functional


_DROPOUTS = {f"aten.{kind}dropout.default" for kind in ("", "alpha_", "feature_", "feature_alpha_")}


def _returns_its_argument(node: Node) -> bool:
    dropout = name_of(node) in _DROPOUTS and not node.args[2]  # not in training
    within = not any(user.op == "output" for user in node.users)  # an output is a value of its own
    return name_of(node) == "aten.detach_.default" or (dropout and within)


def _write_batch_norm(exported: ExportedProgram, node: Node) -> None:
    """Write a batch norm over known statistics, without a trace: some models have hundreds."""
    import torch

    arguments = (*node.args[:5], *node.args[6:8])
    normed = torch.ops.aten._native_batch_norm_legit_no_training.default  # noqa: SLF001
    with exported.graph.inserting_before(node):
        whole = exported.graph.call_function(normed, arguments)
        result = exported.graph.call_function(operator.getitem, (whole, 0))
    value = node.meta["val"]
    unused = value.new_empty(0)  # statistics of the batch
    whole.meta = {**node.meta, "val": (value, unused, unused)}
    result.meta = dict(node.meta)
    replace_node(exported, node, result)


def _way(node: Node) -> Any:
    """Return how an operator is written that functionalization does not leave as it is, or None."""
    import torch

    if name_of(node) == "aten.lift_fresh_copy.default":
        return torch.clone
    target: Any = node.target
    return target.decompose if is_composed_view(target) else None


def _name_outputs(exported: ExportedProgram) -> None:
    """Let the signature name the nodes that the graph returns."""
    returned: Any = exported.graph.output_node().args[0]
    for spec, node in zip(exported.graph_signature.output_specs, returned, strict=True):
        if hasattr(node, "name"):
            spec.arg.name = node.name


def _as_functional(exported: ExportedProgram) -> ExportedProgram:
    """Return the same graph in the dialect ATEN, which is what it is now written in."""
    from torch.export import ExportedProgram as Program

    exported.graph.eliminate_dead_code()
    return Program(
        root=exported.graph_module,
        graph=exported.graph,
        graph_signature=exported.graph_signature,
        state_dict=exported.state_dict,
        range_constraints=exported.range_constraints,
        module_call_graph=exported.module_call_graph,
        example_inputs=exported.example_inputs,
        constants=exported.constants,
    )
