"""Take weights that nothing reads out of the program, so that no format carries them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.passes import PassResult

if TYPE_CHECKING:
    from torch.export import ExportedProgram


def run(exported: ExportedProgram) -> PassResult:
    """Drop every parameter, buffer and constant whose placeholder has no reader."""
    signature = exported.graph_signature
    placeholders = {node.name: node for node in exported.graph.find_nodes(op="placeholder")}
    specs = list(signature.input_specs)
    dropped = [s for s in specs if s.target is not None and not placeholders[s.arg.name].users]
    for spec in dropped:
        exported.graph.erase_node(placeholders[spec.arg.name])
    kept = [spec for spec in specs if spec not in dropped]
    signature.input_specs[:] = kept
    read = {spec.target for spec in kept}
    for stored in (exported.state_dict, exported.constants):
        for name in [name for name in stored if name not in read]:
            del stored[name]
    return PassResult(exported, len(dropped))
