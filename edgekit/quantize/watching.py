"""The range of every channel that a layer of a float graph reads, on calibration data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Interpreter

from edgekit.blame import first_line
from edgekit.errors import UsageError
from edgekit.quantize.constants import WEIGHTED
from edgekit.quantize.precisions import base_name

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule, Node

Ranges = tuple["Tensor", "Tensor"]  # the lowest and the highest value of each channel


def input_ranges(module: GraphModule, samples: Iterable[dict[str, Tensor]]) -> dict[str, Ranges]:
    """Return by name of node the ranges of its input's channels, zero included.

    Raises:
        UsageError: the model cannot read a sample.
    """
    watcher = _Watcher(module)
    order = [node.target for node in module.graph.nodes if node.op == "placeholder"]
    for number, sample in enumerate(samples, 1):
        try:
            watcher.run(*(sample[str(name)] for name in order))
        except (IndexError, RuntimeError) as error:
            raise UsageError(
                f"The model cannot read sample {number} of the calibration data: "
                f"{first_line(error)}",
                "Give inputs like those that it is used with: tokens, say, that it has words for.",
            ) from error
    return watcher.found


class _Watcher(Interpreter):
    """Runs a graph and looks at what layers read."""

    def __init__(self, module: GraphModule) -> None:
        super().__init__(module)
        self.found: dict[str, Ranges] = {}

    def run_node(self, n: Node) -> Any:
        if base_name(n) in WEIGHTED:
            value: Any = self.env[n.args[0]]  # type: ignore[index]
            axis = value.dim() - 1 if base_name(n) == "linear" else 1
            self._extend(n.name, value.movedim(axis, 0).flatten(1))
        return super().run_node(n)

    def _extend(self, name: str, channels: Tensor) -> None:
        zero = torch.zeros(len(channels))
        low, high = self.found.get(name, (zero, zero))
        self.found[name] = (
            torch.minimum(low, channels.amin(1)),
            torch.maximum(high, channels.amax(1)),
        )
