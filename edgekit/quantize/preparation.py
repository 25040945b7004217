"""Operators spelled as integer kernels know them, before anything is observed.

The function stays what it was; what changes is where a value can be quantized.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edgekit.passes.graph import calls, expand, name_of
from edgekit.quantize.precisions import precision_of

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram

    from edgekit.recipe import Recipe


def prepare(exported: ExportedProgram, recipe: Recipe) -> None:
    """Rewrite in place what a recipe quantizes of a float program."""
    for node in calls(exported):
        rewrite = _REWRITES.get(name_of(node))
        if rewrite is not None and precision_of(node, recipe).is_static:
            expand(exported, node, rewrite)
    exported.graph_module.recompile()


def _silu(x: torch.Tensor) -> torch.Tensor:
    """Both runtimes have sigmoid and product in integers, and neither has the two in one."""
    return x * x.sigmoid()


def _average_of_all(x: torch.Tensor, size: Any, *rest: Any) -> Any:
    """An average over the whole image: a pool keeps the scale of what it reads, a mean does not."""
    whole = list(size) == list(x.shape[-2:]) if len(size) > 1 else x.shape[-2:] == (size[0],) * 2
    padded = len(rest) > 1 and any(rest[1])
    return NotImplemented if padded or not whole else x.mean((-2, -1), keepdim=True)


_REWRITES: dict[str, Callable[..., Any]] = {
    "aten.silu.default": _silu,
    "aten.avg_pool2d.default": _average_of_all,
}
