"""Which values of a graph are quantized, and which of them share one scale.

An operator that some runtime computes with integers takes quantized inputs and gives a quantized
output; the tables say how.  A run of operators that runtimes fuse (``conv``, ``relu``) is annotated
as one: nothing is quantized inside it.  The annotation serves torchao's PT2E flow, which puts the
observers where it says and keeps those of one group equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torchao.quantization.pt2e.quantizer import (
    QuantizationAnnotation,
    QuantizationSpec,
    QuantizationSpecBase,
    Quantizer,
    SharedQuantizationSpec,
)

from edgekit.quantize import gates, observers
from edgekit.quantize.constants import LOOKUP, WEIGHTED
from edgekit.quantize.precisions import base_name, precision_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch.fx import GraphModule, Node

    from edgekit.recipe import Precision, Recipe

_KEY = "quantization_annotation"

# Operators by what becomes of their values, without the ``aten.`` and the overload.
ARITHMETIC = {  # results have a range of their own
    *("add", "sub", "mul", "mean", "adaptive_avg_pool1d", "adaptive_avg_pool2d"),
    *("relu", "relu6", "hardtanh", "leaky_relu", "prelu"),
    *("hardswish", "hardsigmoid", "sigmoid", "silu", "gelu", "tanh"),
}
BOUNDED = {  # results whose range is known: integer kernels fix scale and zero point
    "sigmoid": (1 / 256, -128),
    "hardsigmoid": (gates.STEP, gates.LOWEST),
    "tanh": (1 / 128, 0),
}
MOVING = {  # results are values that came in: they keep its scale
    *("cat", "view", "reshape", "flatten", "unflatten", "permute", "transpose", "t"),
    *("squeeze", "unsqueeze", "slice", "select", "expand", "max_pool1d", "max_pool2d"),
    *("upsample_nearest2d", "upsample_bilinear2d", "avg_pool1d", "avg_pool2d"),
    *("pixel_shuffle", "repeat", "channel_shuffle", "narrow", "pad", "constant_pad_nd"),
}
FUSED = {"relu", "relu6", "hardtanh"}  # into the operator before
CARRIES_ACTIVATION = WEIGHTED | {"add", "sub", "mul"}


@dataclass(frozen=True)
class _Specs:
    """The quantization of activations and weights that a recipe asks for."""

    activation: QuantizationSpec
    recipe: Recipe
    kind: str
    training: bool

    def fixed(self, scale: float, zero_point: int) -> QuantizationSpecBase:
        return observers.fixed_spec(scale, zero_point, self.kind)

    def weight(self, axis: int | None) -> QuantizationSpec:
        return observers.weight_spec(self.recipe, axis, training=self.training)


class GraphQuantizer(Quantizer):  # type: ignore[misc]  # torchao has no types
    """Annotates a graph for static quantization as a recipe says."""

    def __init__(self, recipe: Recipe, *, training: bool = False) -> None:
        """Prepare for one recipe; in `training`, values are rounded while ranges are found."""
        self._recipe = recipe
        self._of_kind = {
            kind: _Specs(
                observers.activation_spec(recipe, kind, training=training), recipe, kind, training
            )
            for kind in ("int8", "int16")
        }
        self._specs = self._of_kind["int8"]  # of the operator that is annotated now

    def annotate(self, model: GraphModule) -> GraphModule:
        """Annotate every operator that is quantized, in the order of the graph."""
        wanted = self._wanted(model)
        for node in model.graph.nodes:
            name = base_name(node)
            if _KEY in node.meta or not _is_float(node):
                continue
            precision = self._precision(node)
            if not precision.is_static:
                continue
            self._specs = self._of_kind[precision.activations]
            if name in WEIGHTED:
                self._weighted(node)
            elif name == LOOKUP:
                self._lookup(node)
            elif _moves(node):
                self._moving(node)
            elif name in ARITHMETIC and node in wanted and self._reads_quantized(node):
                self._arithmetic(node)
        return model

    def validate(self, model: GraphModule) -> None:
        """Accept: what the annotation leaves out stays in float."""

    def _precision(self, node: Node) -> Precision:
        """Return what an operator is made in; what is fused into one goes with it."""
        producer: Any = node.args[0] if base_name(node) in FUSED else None
        decides = producer if producer and fused_activation(producer) is node else node
        return precision_of(decides, self._recipe)

    def _is_static(self, node: Node) -> bool:
        return self._precision(node).is_static

    def _wanted(self, model: GraphModule) -> set[Node]:
        """Return the nodes whose results an integer operator reads, at once or through others.

        What only float operators read, such as the sums before a layer norm, is no better for
        being quantized.
        """
        found: set[Node] = set()
        for node in reversed(model.graph.nodes):
            if any(self._wants(user, node, found) for user in node.users):
                found.add(node)
        return found

    def _wants(self, user: Node, value: Node, wanted: set[Node]) -> bool:
        if user.op == "output":
            return True
        name = base_name(user)
        if not name or not self._is_static(user):
            return False
        if name in WEIGHTED:
            return user.args[0] is value
        return user in wanted and (name in ARITHMETIC or _moves(user))

    def _weighted(self, node: Node) -> None:
        value, weight, *rest = node.args
        inputs = {value: self._input_spec(value)}
        inputs[weight] = self._weight_spec(weight, node)
        bias = rest[0] if rest else None
        if bias is not None:
            inputs[bias] = observers.bias_spec((value, node), (weight, node), output_axis(node))
        self._annotate_run(node, inputs)

    def _lookup(self, node: Node) -> None:
        """Quantize a table; what is read of it is float."""
        table: Any = node.args[0]
        if table.op == "get_attr":
            _put(node, {table: self._weight_spec(table, node)}, None)

    def _weight_spec(self, weight: Any, node: Node) -> QuantizationSpecBase:
        """Quantize a weight that several read once, if they have the same channels."""
        axis = output_axis(node)
        for each in weight.users:
            if weight in _inputs_of(each) and output_axis(each) == axis:
                return SharedQuantizationSpec((weight, each))
        return self._specs.weight(axis)

    def _arithmetic(self, node: Node) -> None:
        inputs = {each: self._input_spec(each) for each in node.all_input_nodes if _is_float(each)}
        if inputs:
            self._annotate_run(node, inputs)

    def _moving(self, node: Node) -> None:
        """Quantize what moves values before it moves them, with one scale for all."""
        sources = [each for each in node.all_input_nodes if _is_float(each)]
        quantized = any(map(_is_quantized, sources)) and self._reads_quantized(node)
        if not sources or not (quantized or self._feeds_layers(node)):
            return
        first = sources[0]
        shared = SharedQuantizationSpec((first, node))
        inputs: dict[Any, QuantizationSpecBase] = dict.fromkeys(sources, shared)
        inputs[first] = self._input_spec(first)
        _put(node, inputs, shared)

    def _reads_quantized(self, node: Node) -> bool:
        """Whether all that an operator computes from is quantized anyway, or comes from outside."""
        return all(
            _is_quantized(each)
            or each.op in {"placeholder", "get_attr"}
            or any(base_name(u) in WEIGHTED and self._is_static(u) for u in each.users)
            for each in node.all_input_nodes
            if _is_float(each)
        )

    def _feeds_layers(self, node: Node) -> bool:
        """Whether only integer layers read a value: then it is cheaper to move as integers."""
        return bool(node.users) and all(
            (base_name(user) in WEIGHTED and user.args[0] is node and self._is_static(user))
            or (_moves(user) and self._feeds_layers(user))
            for user in node.users
        )

    def _input_spec(self, value: Any) -> QuantizationSpecBase:
        """Read a value of fixed scale with that scale; torchao would quantize it once more."""
        fixed = base_name(value) in BOUNDED and _is_quantized(value)
        return SharedQuantizationSpec(value) if fixed else self._specs.activation

    def _annotate_run(self, node: Node, inputs: dict[Any, QuantizationSpecBase]) -> None:
        """Annotate an operator and the activation that is fused into it."""
        last = fused_activation(node)
        if last is None:
            known = BOUNDED.get(base_name(node))
            output = self._specs.activation if known is None else self._specs.fixed(*known)
            _put(node, inputs, output)
        else:
            _put(node, inputs, None)
            _put(last, {}, self._specs.activation)


def _put(node: Node, inputs: dict[Any, Any], output: QuantizationSpecBase | None) -> None:
    node.meta[_KEY] = QuantizationAnnotation(
        input_qspec_map=inputs, output_qspec=output, _annotated=True
    )


def _inputs_of(node: Node) -> Mapping[Any, QuantizationSpecBase]:
    """Return what an operator reads quantized, as far as that is said by now."""
    annotation = node.meta.get(_KEY)
    found: Mapping[Any, QuantizationSpecBase] = annotation.input_qspec_map if annotation else {}
    return found


def _moves(node: Node) -> bool:
    """Whether all values of a result came in, or are zeros, which every scale has."""
    fills = base_name(node).endswith(("pad", "pad_nd")) and any(
        isinstance(value, (int, float)) and value for value in node.args[2:]
    )
    return base_name(node) in MOVING and not fills


def _is_float(node: Any) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.dtype is torch.float32


def _is_quantized(node: Node) -> bool:
    annotation = node.meta.get(_KEY)
    return annotation is not None and annotation.output_qspec is not None


def fused_activation(node: Node) -> Node | None:
    """Return the activation that alone reads a node and that runtimes fuse into it."""
    if base_name(node) not in CARRIES_ACTIVATION or len(node.users) != 1:
        return None
    (user,) = node.users
    return user if base_name(user) in FUSED and _starts_at_zero(user) else None


def _starts_at_zero(node: Node) -> bool:
    """Whether a clamp's lower bound is zero: then quantized zero is its lowest value."""
    return base_name(node) != "hardtanh" or node.args[1:2] == (0,)


def output_axis(node: Node) -> int | None:
    """Return the axis of a weight that runs over output channels; None where there is not one."""
    if not base_name(node).startswith("conv_transpose"):
        return 0
    groups = node.args[6] if len(node.args) > 6 else 1
    return 1 if groups == 1 else None
