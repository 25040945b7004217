"""Fold batch normalization into the convolution or linear layer before it.

Given   ``y = batch_norm(layer(x, W, b))`` in evaluation mode, nothing else reading the layer,
Result  ``y = layer(x, W * s, (b - mean) * s + beta)`` with ``s = gamma / sqrt(var + eps)`` per
output channel.  Computed in float64: the outputs move by rounding only.

The new bias takes the place of the normalization's own ``beta`` (or ``mean``) among the weights, so
that the program's inputs need no new entry.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from edgekit.passes import PassResult
from edgekit.passes.graph import replace_node

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram
    from torch.fx import Node


def run(exported: ExportedProgram) -> PassResult:
    """Fold wherever it is possible."""
    import torch

    weights = _Weights(exported)
    norms = exported.graph.find_nodes(op="call_function", target=torch.ops.aten.batch_norm.default)
    declined = []
    for norm in norms:
        reason = _fold(norm, weights)
        if reason:
            declined.append(f"{norm.name}: {reason}")
    return PassResult(exported, len(norms) - len(declined), tuple(declined))


_PART = 2**15  # numbers; PyTorch computes so many on one thread, and in the processor's cache


class _Weights:
    """The weights of a program by the node that brings them in."""

    def __init__(self, exported: ExportedProgram) -> None:
        signature = exported.graph_signature
        self.names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        self.state = exported.state_dict
        self.exported = exported
        self.tensors_at = Counter(map(_memory, self.state.values()))

    def of(self, node: Any) -> torch.Tensor | None:
        """Return the weight that `node` is, if it is one that nothing else shares."""
        name = self.names.get(getattr(node, "name", ""))
        if name is None or name not in self.state or len(node.users) != 1:
            return None
        tensor = self.state[name]
        return tensor if self.tensors_at[_memory(tensor)] <= 1 else None

    def value(self, node: Any, default: float | None = None) -> Any:
        """Return the weight that `node` is, in float64; `default` where there is no node."""
        if node is None:
            return default
        tensor = self.of(node)
        assert tensor is not None
        return tensor.detach().double()

    def scale(self, node: Any, factors: Any) -> None:
        """Multiply the weight that `node` is; in float64, a part at a time, which is faster."""
        import torch

        old: Any = self.state[self.names[node.name]].detach()
        new: Any = torch.empty_like(old)
        rows = max(1, _PART // max(1, old[0].numel()))
        parts = (each.split(rows) for each in (new, old, factors))
        for part, before, by in zip(*parts, strict=True):
            part.copy_(before.double() * by)
        self.replace(node, new)

    def replace(self, node: Any, value: torch.Tensor) -> None:
        """Give the weight that `node` is a new value."""
        import torch

        name = self.names[node.name]
        old = self.state[name]
        value = value.to(old.dtype)
        is_parameter = isinstance(old, torch.nn.Parameter)
        self.state[name] = torch.nn.Parameter(value, False) if is_parameter else value


def _memory(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _fold(norm: Node, weights: _Weights) -> str | None:
    """Fold one normalization; return why not, or None when done."""
    arguments: tuple[Any, ...] = norm.args
    layer, gamma, beta, mean, variance, training, _momentum, epsilon = arguments[:8]
    if training:
        return "it is in training mode"
    if not _is_foldable(layer) or len(layer.users) != 1:
        return "the layer before it is of another kind, or is read elsewhere too"
    weight, bias = layer.args[1], layer.args[2] if len(layer.args) > 2 else None
    used = [node for node in (weight, bias, gamma, beta, mean, variance) if node is not None]
    if any(weights.of(node) is None for node in used) or mean is None or variance is None:
        return "one of its weights, or of the layer's, is shared or computed"
    scale = (weights.value(variance) + epsilon).rsqrt() * weights.value(gamma, 1.0)
    shift = weights.value(bias, 0.0) - weights.value(mean)
    offset = shift * scale + weights.value(beta, 0.0)
    weights.scale(weight, _spread(scale, layer, weights.of(weight)))
    home = mean if beta is None else beta
    weights.replace(home, offset)
    layer.args = (*layer.args[:2], home, *layer.args[3:])
    replace_node(weights.exported, norm, layer)
    return None


def _is_foldable(layer: Any) -> bool:
    """Whether `layer` is a batched convolution or linear layer with the channels on axis 1."""
    kind = _kind(layer)
    if kind is None:
        return False
    rank: int = layer.meta["val"].dim()
    return rank == (2 if kind == "linear" else 2 + int(kind[-2]))


def _kind(layer: Any) -> str | None:
    """Return ``conv2d``, ``conv_transpose1d``, ``linear`` ..., or None for other nodes."""
    if getattr(layer, "op", None) != "call_function":
        return None
    name = str(layer.target).removeprefix("aten.").partition(".")[0]
    kinds = [f"conv{d}d" for d in (1, 2, 3)] + [f"conv_transpose{d}d" for d in (1, 2, 3)]
    return name if name in (*kinds, "linear") else None


def _spread(scale: torch.Tensor, layer: Any, weight: torch.Tensor | None) -> torch.Tensor:
    """Shape per-channel factors so that they multiply the layer's weight."""
    assert weight is not None
    tail = [1] * (weight.dim() - 2)
    kind = _kind(layer)
    if kind is None or not kind.startswith("conv_transpose"):
        return scale.reshape(-1, 1, *tail)
    groups = layer.args[6] if len(layer.args) > 6 else 1
    rows, columns = weight.shape[0] // groups, weight.shape[1]  # (in, out / groups, kernel...)
    per_group = scale.reshape(groups, 1, columns).expand(groups, rows, columns)
    return per_group.reshape(groups * rows, columns, *tail)
