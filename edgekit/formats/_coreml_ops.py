"""PyTorch operators that coremltools lacks for torch.export, or converts to something else.

Every converter, coremltools' own too, runs inside `_watched`: a value of another kind than
PyTorch's is cast, arguments that were left out are given where one asks for them all, and an error
names the operator.

Two tables say what else is here.  `_RECURRENT`: a recurrent layer arrives from torch.export as one
node with a tuple as its value; coremltools' own functions expect one name per output, and `_tupled`
translates between the two.  `_CORRECTED`: coremltools 9.0 reads the arguments of these operators by
position only and so loses the keyword ones without a word, or computes something near by.
"""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from coremltools.converters.mil import Builder as mb  # noqa: N813 - its name in all its examples
from coremltools.converters.mil.frontend.torch import ops
from coremltools.converters.mil.frontend.torch.internal_graph import InternalTorchIRNode
from coremltools.converters.mil.frontend.torch.torch_op_registry import (
    _TORCH_OPS_REGISTRY,
    register_torch_op,
)
from coremltools.converters.mil.mil.scope import ScopeInfo, ScopeSource

from edgekit.blame import root_cause
from edgekit.errors import EdgekitError, UnsupportedOperatorError
from edgekit.formats import _coreml_recurrent
from edgekit.formats._coreml_weights import CONVERTERS
from edgekit.layers import layer_of
from edgekit.passes.legalization import describe
from edgekit.quantize.precisions import base_name

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from edgekit.recipe import Precision, Recipe

Converter = Callable[[Any, Any], None]

_RECURRENT = {  # ATen overload -> (coremltools' function, number of outputs)
    "lstm.input": (ops.lstm, 3),
    "rnn_tanh.input": (ops.rnn_tanh, 2),
    "rnn_relu.input": (ops.rnn_relu, 2),
}
_NODE = "edgekit_node"
_ORIGIN = ScopeSource.TORCHSCRIPT_MODULE_NAME  # where a layer and an operator are noted
_KINDS = {
    torch.bool: "bool",
    torch.float16: "fp16",
    torch.float32: "fp32",
    torch.float64: "fp32",
    torch.bfloat16: "fp32",
}
_CONVOLUTIONS = (
    *("conv1d", "conv2d", "conv3d", "convolution"),
    *("conv_transpose1d", "conv_transpose2d.input", "conv_transpose3d.input"),
)
_FLOAT32_EPSILON = 2.0**-23  # of torch.finfo(torch.float32)


@cache
def register() -> None:
    """Make the operators known to coremltools; a second call does nothing."""
    for kind, (function, outputs) in _RECURRENT.items():
        _register(kind, _tupled(function, outputs))
    for kind, converter in {**_CORRECTED, **CONVERTERS}.items():
        _register(kind, converter)
    converters = _TORCH_OPS_REGISTRY.name_to_func_mapping
    for kind, converter in list(converters.items()):
        converters[kind] = _watched(converter)


def prepare(exported: ExportedProgram) -> None:
    """Note on every node of a program what `_watched` has to know of it."""
    for node in exported.graph.nodes:
        if node.op == "call_function":
            node.meta[_NODE] = node


def precision_of(operation: Any, recipe: Recipe) -> Precision:
    """Return what an operation is made in, by the operator that it was converted from."""
    layer, operator = operation.scopes.get(_ORIGIN) or ("", "")
    return recipe.at(layer, operator)


def _watched(converter: Converter) -> Converter:
    """Let a converter say which operator it fails at, and give what PyTorch's types say."""

    def convert(context: Any, node: Any) -> None:
        origin = (node.meta or {}).get(_NODE)
        if origin is None:
            converter(context, node)
            return
        try:
            with mb.scope(ScopeInfo(_ORIGIN, [layer_of(origin), base_name(origin)])):
                _with_all_arguments(converter, context, node, origin)
        except EdgekitError:
            raise
        except Exception as error:
            said = " ".join(str(root_cause(error)).split())[:200]
            raise UnsupportedOperatorError(
                f"coremltools does not convert {describe(origin)}: {said or 'no reason given'}",
                "Compute it in another way in the model, or leave it out of the model and do it "
                "in the app; other formats may take it.",
            ) from error
        if node.name in context and origin.target is not operator.getitem:
            typed = _typed(context[node.name], origin.meta.get("val"))
            context.add(typed, torch_name=node.name, override=True)

    return convert


def _with_all_arguments(converter: Converter, context: Any, node: Any, origin: Any) -> None:
    """Convert; where it asks for arguments that were left out, once more with the defaults."""
    try:
        converter(context, node)
    except ValueError as error:
        places = [each for each in origin.target._schema.arguments if not each.kwarg_only]  # noqa: SLF001
        missing = [each for each in places[len(origin.args) :] if each.name not in origin.kwargs]
        if "expected" not in str(error) or not missing:
            raise
        given = origin.args
        origin.args = (*given, *(each.default_value for each in missing))
        converter(context, InternalTorchIRNode.from_exir_node(origin))


def _typed(found: Any, wanted: Any) -> Any:
    """Cast a value that is not of PyTorch's kind: bool, integer, float16 or wider float."""
    if isinstance(wanted, tuple | list) and isinstance(found, tuple | list):
        return tuple(map(_typed, found, wanted)) if len(found) == len(wanted) else found
    if not isinstance(wanted, torch.Tensor) or not isinstance(found, ops.Var):
        return found
    if wanted.is_complex():
        return found  # what coremltools keeps for itself until it lowers it
    kind = _KINDS.get(wanted.dtype, "int32")
    if ops.types.is_list(found.sym_type) or _kind(found.dtype) == kind:
        return found
    return mb.cast(x=found, dtype=kind)


def _kind(dtype: Any) -> str:
    """Return what a value of Core ML's type is cast to when it is wanted."""
    if ops.types.is_bool(dtype):
        return "bool"
    if ops.types.is_int(dtype):
        return "int32"
    return "fp16" if dtype == ops.types.fp16 else "fp32"


def _register(kind: str, converter: Converter) -> None:
    def named(context: Any, node: Any) -> None:
        converter(context, node)

    named.__name__ = kind
    register_torch_op(named, override=True)


def _tupled(function: Converter, outputs: int) -> Converter:
    def convert(context: Any, node: Any) -> None:
        apart = copy.copy(node)
        apart.outputs = [f"{node.name}_{index}" for index in range(outputs)]
        function(context, apart)
        context.add(tuple(context[name] for name in apart.outputs), torch_name=node.name)

    return convert


def _argument(context: Any, node: Any, place: int, name: str, default: Any) -> Any:
    """Return an argument's value, wherever it was given; `default` where it was not, or None."""
    given = ops._get_inputs(context, node)  # noqa: SLF001 - as each of its converters does
    by_name = ops._get_kwinputs(context, node, name, default=[None])  # noqa: SLF001
    found = given[place] if len(given) > place else by_name[0]
    value = getattr(found, "val", found)
    return default if value is None else value


def _under_another_name(function: Converter, context: Any, node: Any) -> Any:
    """Convert a node under a name of its own, and return the result to go on with."""
    inner = copy.copy(node)
    inner.name, inner.outputs = f"{node.name}_inner", [f"{node.name}_inner"]
    function(context, inner)
    return context[inner.name]


def _gelu(context: Any, node: Any) -> None:
    """Keep `approximate`, which is a keyword."""
    mode = {"none": "EXACT", "tanh": "TANH_APPROXIMATION"}[
        _argument(context, node, 1, "approximate", "none")
    ]
    context.add(mb.gelu(x=context[node.inputs[0]], mode=mode, name=node.name))


def _with_alpha(function: Converter, scaled: int) -> Converter:
    """Keep `alpha`, which multiplies the operand at the place `scaled`."""

    def convert(context: Any, node: Any) -> None:
        alpha = _argument(context, node, 2, "alpha", 1)
        plain = copy.copy(node)
        plain.inputs, plain.kwinputs = list(node.inputs[:2]), None
        if alpha != 1:
            operand = ops._get_inputs(context, node)[scaled]  # noqa: SLF001
            operand, factor = ops.promote_input_dtypes([operand, alpha])
            plain.inputs[scaled] = f"{node.name}_scaled"
            context.add(mb.mul(x=operand, y=factor, name=plain.inputs[scaled]))
        function(context, plain)

    return convert


def _softplus(context: Any, node: Any) -> None:
    """Keep `threshold`: where ``beta * x`` exceeds it the result is x.

    The default of 20 changes the result by a relative 1e-10, and is not worth an operation.
    """
    beta = float(_argument(context, node, 1, "beta", 1.0))
    threshold = float(_argument(context, node, 2, "threshold", 20.0))
    if threshold >= 15:
        ops.softplus(context, node)
        return
    x, smooth = context[node.inputs[0]], _under_another_name(ops.softplus, context, node)
    linear = mb.greater(x=mb.mul(x=x, y=beta), y=threshold)
    context.add(mb.select(cond=linear, a=x, b=smooth, name=node.name))


def _log_softmax(context: Any, node: Any) -> None:
    """Compute ``x - max - log(sum(exp(x - max)))``; the log of a softmax loses small results."""
    x, axis = context[node.inputs[0]], int(_argument(context, node, 1, "dim", -1))
    shifted = mb.sub(x=x, y=mb.reduce_max(x=x, axes=[axis], keep_dims=True))
    total = mb.reduce_sum(x=mb.exp(x=shifted), axes=[axis], keep_dims=True)
    context.add(mb.sub(x=shifted, y=mb.log(x=total), name=node.name))


def _rms_norm(context: Any, node: Any) -> None:
    """Compute ``x / sqrt(mean(x ** 2) + eps) * weight`` with nothing that overflows float16.

    coremltools divides by the largest magnitude first and then adds `eps` unscaled: another eps for
    every input.  With ``m = max(|x|, sqrt(eps))`` the root is ``m sqrt(mean((x/m)**2) +
    (sqrt(eps)/m)**2)``, whose every term lies between 0 and 1.
    """
    x, shape = context[node.inputs[0]], _argument(context, node, 1, "normalized_shape", ())
    root = math.sqrt(float(_argument(context, node, 3, "eps", _FLOAT32_EPSILON)))
    weight = context[node.inputs[2]] if len(node.inputs) > 2 and node.inputs[2] else None
    axes = list(range(-len(shape), 0))
    peak = mb.maximum(x=mb.reduce_max(x=mb.abs(x=x), axes=axes, keep_dims=True), y=root)
    scaled = mb.real_div(x=x, y=peak)
    mean = mb.reduce_mean(x=mb.square(x=scaled), axes=axes, keep_dims=True)
    squares = mb.add(x=mean, y=mb.square(x=mb.real_div(x=root, y=peak)))
    if weight is None:
        context.add(mb.real_div(x=scaled, y=mb.sqrt(x=squares), name=node.name))
    else:
        normal = mb.real_div(x=scaled, y=mb.sqrt(x=squares))
        context.add(mb.mul(x=normal, y=weight, name=node.name))


def _spread(context: Any, node: Any) -> Any:
    """Return the variance; without `correction` it is the unbiased one."""
    dims = _argument(context, node, 1, "dim", None)
    axes = None if dims is None else tuple(int(axis) for axis in dims) or None
    correction = float(_argument(context, node, 2, "correction", 1.0))
    keep = bool(_argument(context, node, 3, "keepdim", False))
    x = context[node.inputs[0]]
    return ops._var(x, axes=axes, keep_dims=keep, correction=correction)  # noqa: SLF001


def _var(context: Any, node: Any) -> None:
    context.add(mb.identity(x=_spread(context, node), name=node.name))


def _std(context: Any, node: Any) -> None:
    context.add(mb.sqrt(x=_spread(context, node), name=node.name))


def _reciprocal(context: Any, node: Any) -> None:
    """Divide; `inverse` adds 1e-4 to its operand."""
    context.add(mb.real_div(x=1.0, y=context[node.inputs[0]], name=node.name))


def _div(context: Any, node: Any) -> None:
    """Keep a rounded quotient of integers an integer."""
    x, y = ops._get_inputs(context, node)[:2]  # noqa: SLF001 - as each of its converters does
    mode = _argument(context, node, 2, "rounding_mode", None)
    if mode is None or not (ops.types.is_int(x.dtype) and ops.types.is_int(y.dtype)):
        ops.div(context, node)
        return
    x, y = ops.promote_input_dtypes([x, y])
    if mode == "floor":
        context.add(mb.floor_div(x=x, y=y, name=node.name))
        return
    sign = mb.mul(x=mb.sign(x=x), y=mb.sign(x=y))
    magnitude = mb.floor_div(x=mb.abs(x=x), y=mb.abs(x=y))
    context.add(mb.mul(x=magnitude, y=sign, name=node.name))


def _floor_divide(context: Any, node: Any) -> None:
    """Round down, and keep the element type; `floor_divide` makes floating-point numbers."""
    x, y = ops.promote_input_dtypes(ops._get_inputs(context, node)[:2])  # noqa: SLF001
    context.add(mb.floor_div(x=x, y=y, name=node.name))


def _antialiased(_context: Any, _node: Any) -> None:
    """Refuse what would come out without its antialiasing filter."""
    raise NotImplementedError("Core ML has no interpolation with antialias=True")


def _clamp(context: Any, node: Any) -> None:
    """Keep integers integers where one bound is missing; leave the rest to coremltools."""
    x = context[node.inputs[0]]
    low = _argument(context, node, 1, "min", None)
    high = _argument(context, node, 2, "max", None)
    if not ops.types.is_int(x.dtype) or not all(type(b).__name__ in _INTEGERS for b in (low, high)):
        ops.clamp(context, node)
        return
    if low is not None:
        x = mb.maximum(x=x, y=int(low))
    context.add(mb.minimum(x=x, y=int(high if high is not None else 2**31 - 1), name=node.name))


def _hardtanh(context: Any, node: Any) -> None:
    """Clip by bounds of the operand's own type; coremltools passes integers on as integers."""
    low = float(_argument(context, node, 1, "min_val", -1.0))
    high = float(_argument(context, node, 2, "max_val", 1.0))
    x = context[node.inputs[0]]
    if (low, high) == (0.0, 6.0):
        context.add(mb.relu6(x=x, name=node.name))
    else:
        context.add(mb.clip(x=x, alpha=low, beta=high, name=node.name))


def _with_any_bias(context: Any, node: Any) -> None:
    """Add a bias that is no constant afterwards; a convolution takes constant ones only."""
    bias = context[node.inputs[2]] if len(node.inputs) > 2 and node.inputs[2] else None
    if bias is None or bias.val is not None:
        ops._convolution(context, node)  # noqa: SLF001
        return
    plain = copy.copy(node)
    plain.inputs = [*node.inputs[:2], None, *node.inputs[3:]]
    found = _under_another_name(ops._convolution, context, plain)  # noqa: SLF001
    shape = [1, -1, *[1] * (found.rank - 2)]
    context.add(mb.add(x=found, y=mb.reshape(x=bias, shape=shape), name=node.name))


def _scatter_reduce(context: Any, node: Any) -> None:
    """Scatter with a product or an extreme value; the rest are rules."""
    x, dim, index, source, reduce = ops._get_inputs(context, node)[:5]  # noqa: SLF001
    how = getattr(reduce, "val", reduce)
    mode = {"sum": "add", "prod": "mul", "amax": "max", "amin": "min"}[how]
    scattered = mb.scatter_along_axis(
        data=x, indices=index, updates=source, axis=dim.val, mode=mode, name=node.name
    )
    context.add(scattered)


def _cast(context: Any, node: Any) -> None:
    """Cast to the nearest type that Core ML computes in."""
    kind = _KINDS.get(node.meta["val"].dtype, "int32")
    x = context[node.inputs[0]]
    if _kind(x.dtype) == kind:
        context.add(mb.identity(x=x, name=node.name))
    else:
        context.add(mb.cast(x=x, dtype=kind, name=node.name))


def _reshape(context: Any, node: Any) -> None:
    """Take all axes away where that is asked for; coremltools leaves such a value as it is."""
    if node.meta["val"].dim():
        ops.view(context, node)
        return
    x = context[node.inputs[0]]
    context.add(mb.squeeze(x=x, name=node.name) if x.rank else x, torch_name=node.name)


def _copy(context: Any, node: Any) -> None:
    """Make a value of its own: a clone that is left in the graph is an output."""
    context.add(mb.identity(x=context[node.inputs[0]], name=node.name))


_INTEGERS = {"int", "int32", "int64", "NoneType"}
_CORRECTED: dict[str, Converter] = {
    "gru.input": _coreml_recurrent.gru,
    "gelu": _gelu,
    "add": _with_alpha(ops.add, 1),
    "sub": _with_alpha(ops.sub, 1),
    "rsub": _with_alpha(ops.sub, 0),
    "softplus": _softplus,
    "log_softmax": _log_softmax,
    "_log_softmax": _log_softmax,
    "rms_norm": _rms_norm,
    "var.correction": _var,
    "std.correction": _std,
    "reciprocal": _reciprocal,
    "_upsample_bilinear2d_aa": _antialiased,
    "_upsample_bilinear2d_aa.vec": _antialiased,
    "clamp": _clamp,
    "div": _div,
    "floor_divide": _floor_divide,
    "hardtanh": _hardtanh,
    "_to_copy": _cast,
    "to.dtype": _cast,
    "clone": _copy,
    "scatter_reduce.two": _scatter_reduce,
    **dict.fromkeys(_CONVOLUTIONS, _with_any_bias),
    "view": _reshape,
    "reshape": _reshape,
}
