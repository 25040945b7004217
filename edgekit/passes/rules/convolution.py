"""Convolutions in the forms that every converter takes: batched, padded by numbers, in a plane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.passes.rules import rule

if TYPE_CHECKING:
    from torch import Tensor

_NO_BATCH = "needs a batch axis"
_HALF = "no kernels for float16"
_WORDS = "takes numbers for the padding, not words"


@rule(
    *(f"conv{d}d.default" for d in (1, 2, 3)),
    tflite=_NO_BATCH,
    coreml=_NO_BATCH,
)
def unbatched(x: Tensor, weight: Tensor, *rest: Any) -> Any:
    """Convolve a batch of one."""
    if x.dim() == weight.dim():
        return NotImplemented
    return _convolution(weight)(x.unsqueeze(0), weight, *rest).squeeze(0)


@rule(*(f"conv{d}d.padding" for d in (1, 2, 3)), tflite=_WORDS, coreml=_WORDS)
def padded_in_words(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: str = "valid",
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """Pad by as much as ``same`` means; where that is odd, the last side gets one more."""
    import torch.nn.functional as F  # noqa: N812 - its name in all its examples

    kernel = weight.shape[2:]
    spread = dilation if isinstance(dilation, list | tuple) else [dilation]
    spread = list(spread) * (len(kernel) // len(spread))
    if padding == "same":
        totals = [d * (k - 1) for d, k in zip(spread, kernel, strict=True)]
        sides = [side for t in reversed(totals) for side in (t // 2, t - t // 2)]
        x = F.pad(x, sides)
    zeros = [0] * len(kernel)
    stride = list(stride) if isinstance(stride, list | tuple) else [stride] * len(kernel)
    return _convolution(weight)(x, weight, bias, stride, zeros, spread, groups)


@rule(*(f"conv{d}d.default" for d in (1, 2, 3)), tflite=_HALF)
def in_half_precision(x: Tensor, weight: Tensor, bias: Tensor | None = None, *rest: Any) -> Any:
    """Compute in float32."""
    if x.dtype.itemsize != 2:  # float16 and bfloat16
        return NotImplemented
    wide = None if bias is None else bias.float()
    return _convolution(weight)(x.float(), weight.float(), wide, *rest).to(x.dtype)


@rule("conv3d.default", tflite="no groups in three dimensions")
def grouped_3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = (1, 1, 1),
    padding: Any = (0, 0, 0),
    dilation: Any = (1, 1, 1),
    groups: int = 1,
) -> Any:
    """Convolve planes: one two-dimensional convolution per plane of the kernel, and their sum."""
    import torch.nn.functional as F  # noqa: N812

    if groups == 1 or x.dim() != 5:
        return NotImplemented
    (sd, *stride2), (pd, *pad2), (dd, *dil2) = map(_triple, (stride, padding, dilation))
    x = F.pad(x, [0, 0, 0, 0, pd, pd])
    depth = (x.shape[2] - dd * (weight.shape[2] - 1) - 1) // sd + 1
    total: Any = None
    for plane in range(weight.shape[2]):
        start = plane * dd
        slab = x[:, :, start : start + sd * (depth - 1) + 1 : sd]
        flat = slab.transpose(1, 2).reshape(-1, x.shape[1], *x.shape[3:])
        part = F.conv2d(flat, weight[:, :, plane], None, stride2, pad2, dil2, groups)
        total = part if total is None else total + part
    result: Any = total.reshape(x.shape[0], depth, *total.shape[1:]).transpose(1, 2)
    return result if bias is None else result + bias.reshape(-1, 1, 1, 1)


@rule(
    "conv_transpose3d.input",
    tflite="crashes the converter",
)
def transposed_3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = (1, 1, 1),
    padding: Any = (0, 0, 0),
    output_padding: Any = (0, 0, 0),
    groups: int = 1,
    dilation: Any = (1, 1, 1),
) -> Any:
    """Put zeros between the inputs and convolve with the kernel reversed."""
    import torch.nn.functional as F  # noqa: N812

    if x.dim() != 5:
        return NotImplemented
    stride, padding, extra, dilation = map(_triple, (stride, padding, output_padding, dilation))
    for axis, step in zip((2, 3, 4), stride, strict=True):
        x = _spread_out(x, axis, step)
    reach = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
    sides = [
        side
        for r, p, e in reversed(list(zip(reach, padding, extra, strict=True)))
        for side in (r - p, r - p + e)
    ]
    into, out = weight.shape[0] // groups, weight.shape[1]
    kernel = weight.flip((2, 3, 4)).reshape(groups, into, out, *weight.shape[2:])
    kernel = kernel.transpose(1, 2).reshape(groups * out, into, *weight.shape[2:])
    return F.conv3d(_padded(x, sides), kernel, bias, 1, 0, dilation, groups)


@rule(
    "conv_transpose1d.default",
    "conv_transpose2d.input",
    "conv_transpose3d.input",
    tflite="no output padding",
    coreml="no output padding but in two dimensions",
)
def transposed_with_output_padding(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    """Compute the whole result, then cut the padding off and put zeros behind it."""
    import torch.nn.functional as F  # noqa: N812

    rank = weight.dim() - 2
    paddings, extras = _several(padding, rank), _several(output_padding, rank)
    if not any(extras) or x.dim() != weight.dim():
        return NotImplemented
    transposed = getattr(F, f"conv_transpose{rank}d")
    whole = transposed(x, weight, None, stride, 0, 0, groups, dilation)
    sides = [
        side for p, e in reversed(list(zip(paddings, extras, strict=True))) for side in (-p, e - p)
    ]
    result = _padded(whole, sides)
    return result if bias is None else result + bias.reshape(-1, *[1] * rank)


@rule("conv_tbc.default", coreml="no operation for it")
def steps_first(x: Tensor, weight: Tensor, bias: Tensor, padding: int = 0) -> Any:
    """Convolve with the steps last."""
    import torch.nn.functional as F  # noqa: N812

    found = F.conv1d(x.permute(1, 2, 0), weight.permute(2, 1, 0), bias, padding=padding)
    return found.permute(2, 0, 1)


@rule(
    "conv_transpose1d.default",
    "conv_transpose2d.input",
    "conv_transpose3d.input",
    shared=True,
    coreml=_NO_BATCH,
)
def transposed_unbatched(operator: Any, x: Tensor, weight: Tensor, *rest: Any) -> Any:
    """Convolve a batch of one."""
    if x.dim() == weight.dim():
        return NotImplemented
    return operator(x.unsqueeze(0), weight, *rest).squeeze(0)


def _convolution(weight: Tensor) -> Any:
    import torch

    return getattr(torch.ops.aten, f"conv{weight.dim() - 2}d").default


def _several(value: Any, count: int) -> list[int]:
    values = list(value) if isinstance(value, list | tuple) else [value]
    return values * (count // len(values))


def _triple(value: Any) -> list[int]:
    return _several(value, 3)


def _spread_out(x: Tensor, axis: int, step: int) -> Any:
    """Put ``step - 1`` zeros between neighbours on an axis."""
    import torch

    if step == 1:
        return x
    gaps = torch.stack([x, *[torch.zeros_like(x)] * (step - 1)], axis + 1)
    return gaps.flatten(axis, axis + 1).narrow(axis, 0, (x.shape[axis] - 1) * step + 1)


def _padded(x: Tensor, sides: list[int]) -> Any:
    """Pad where a number is positive, cut where it is negative."""
    import torch.nn.functional as F  # noqa: N812

    if any(side > 0 for side in sides):
        x = F.pad(x, [max(side, 0) for side in sides])
    for index in range(0, len(sides), 2):
        axis = x.dim() - 1 - index // 2
        low, high = max(-sides[index], 0), max(-sides[index + 1], 0)
        if low or high:
            x = x.narrow(axis, low, x.shape[axis] - low - high)
    return x
