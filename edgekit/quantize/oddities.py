"""What is odd in the ranges that calibration finds, and costs accuracy: said, not repaired."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from edgekit.layers import layer_of

if TYPE_CHECKING:
    from torch.fx import GraphModule

    from edgekit.quantize.watching import Ranges

_WIDE = 50  # times the median channel; 255 steps leave that one five
_SHOWN = 3


def notes(module: GraphModule, ranges: Mapping[str, Ranges]) -> tuple[str, ...]:
    """Return what to know of the values that layers read, one sentence each."""
    empty: list[str] = []
    wide: list[tuple[float, str]] = []
    for node in module.graph.nodes:
        if node.name not in ranges:
            continue
        low, high = ranges[node.name]
        reach = torch.maximum(-low, high)
        name = layer_of(node) or node.name
        if not reach.any():
            empty.append(name)
            continue
        ratio = float(reach.max() / reach[reach > 0].median())
        if ratio > _WIDE:
            wide.append((ratio, name))
    return (*_of_empty(empty), *_of_wide(sorted(wide, reverse=True)))


def _of_empty(names: list[str]) -> list[str]:
    if not names:
        return []
    told = "layers that read nothing but zeros in calibration, so that their ranges are unknown"
    return [f"{told}: {_listed(names)}"]


def _of_wide(found: list[tuple[float, str]]) -> list[str]:
    if not found:
        return []
    ratio, name = found[0]
    others = [name for _, name in found[1:]]
    more = f"; others like it: {_listed(others)}" if others else ""
    reads = f"outliers: in what {name} reads one channel reaches {ratio:.0f} times as far"
    return [f"{reads} as the median one, so 8 bits leave the others few steps{more}"]


def _listed(names: list[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
