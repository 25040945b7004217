"""Fourier transforms in real arithmetic: products with constant matrices of cosines and sines.

Sizes above `_WHOLE` that have divisors are transformed in two rounds of smaller matrices (Cooley
and Tukey, 1965).  A complex number is a pair of tensors, its real and its imaginary part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from edgekit.passes.graph import computed_now

Pair = tuple[Tensor, Tensor]
_WHOLE = 1024  # a matrix of this size takes 8 MB


def real_to_complex(x: Tensor, dims: Sequence[int], normalization: int, onesided: Any) -> Pair:
    """Compute ``aten._fft_r2c``."""
    *rest, last = dims
    size = x.shape[last]
    pair = _along(x, None, last, -1)
    if onesided:
        pair = tuple(each.narrow(last, 0, size // 2 + 1) for each in pair)  # type: ignore[assignment]
    for dim in rest:
        pair = _along(*pair, dim, -1)
    return _scaled(pair, math.prod(x.shape[dim] for dim in dims), normalization)


def complex_to_complex(pair: Pair, dims: Sequence[int], normalization: int, forward: Any) -> Pair:
    """Compute ``aten._fft_c2c``."""
    size = math.prod(pair[0].shape[dim] for dim in dims)
    for dim in dims:
        pair = _along(*pair, dim, -1 if forward else 1)
    return _scaled(pair, size, normalization)


def complex_to_real(pair: Pair, dims: Sequence[int], normalization: int, size: int) -> Tensor:
    """Compute ``aten._fft_c2r``."""
    *rest, last = dims
    total = math.prod(pair[0].shape[dim] for dim in rest) * size
    for dim in rest:
        pair = _along(*pair, dim, 1)
    if size > _WHOLE:
        result = _along(*_mirrored(pair, last, size), last, 1)[0]
    else:
        with computed_now():
            cosines, sines = (each.to(pair[0].dtype) for each in _half_inverse(size))
        re, im = (each.movedim(last, -1) for each in pair)
        half = size // 2 + 1
        result = (re[..., :half] @ cosines + im[..., :half] @ sines).movedim(-1, last)
    return _scaled((result, result), total, normalization)[0]


def stft(
    x: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    normalized: Any = False,
    onesided: Any = None,
    return_complex: Any = None,
    align_to_window: Any = None,
) -> Any:
    """Compute ``aten.stft`` of a real signal: one convolution whose kernels are windowed waves."""
    del align_to_window
    hop = hop_length or n_fft // 4
    whole = _window(x, window, win_length or n_fft, n_fft)
    count = n_fft // 2 + 1 if onesided is None or onesided else n_fft
    signals = x if x.dim() == 2 else x[None]
    if n_fft > _WHOLE:
        frames = signals.unfold(-1, n_fft, hop) * whole
        pair = tuple(
            each.narrow(-1, 0, count).transpose(1, 2) for each in _along(frames, None, -1, -1)
        )
    else:
        with computed_now():
            waves = torch.cat([each[:count] for each in _waves(n_fft, -1)]).to(x.dtype)
        kernels = (waves * whole)[:, None]
        found = functional.conv1d(signals[:, None], kernels, stride=hop)
        pair = found[:, :count], found[:, count:]
    if normalized:
        pair = tuple(each * n_fft**-0.5 for each in pair)
    if x.dim() == 1:
        pair = tuple(each[0] for each in pair)
    return pair if return_complex else torch.stack(pair, -1)


def istft(
    pair: Pair,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    center: Any = True,
    normalized: Any = False,
    onesided: Any = None,
    length: int | None = None,
    return_complex: Any = False,
) -> Any:
    """Compute ``aten.istft``: windowed waves added where they stand, over the windows' sum."""
    re, im = pair
    if return_complex or (onesided is not None and not onesided):
        raise NotImplementedError("istft of a complex signal")
    hop = hop_length or n_fft // 4
    whole = _window(re, window, win_length or n_fft, n_fft)
    one = re.dim() == 2
    re, im = (each[None] if one else each for each in (re, im))
    with computed_now():
        waves = (torch.cat(_half_inverse(n_fft)) / n_fft).to(re.dtype)
    kernels = (waves * whole)[:, None]
    if normalized:
        kernels = kernels * n_fft**0.5
    steps = re.shape[-1]
    found = functional.conv_transpose1d(torch.cat([re, im], 1), kernels, stride=hop)[:, 0]
    shares = functional.conv_transpose1d(
        torch.ones(1, 1, steps, dtype=re.dtype), whole.square()[None, None], stride=hop
    )[0, 0]
    start = n_fft // 2 if center else 0
    total = n_fft + hop * (steps - 1)
    end = total - start if length is None else min(start + length, total)
    result = found[:, start:end] / shares[start:end]
    if length is not None and end - start < length:
        result = functional.pad(result, [0, length - (end - start)])
    return result[0] if one else result


def _window(x: Tensor, window: Tensor | None, length: int, n_fft: int) -> Tensor:
    """Return the window in the middle of `n_fft` places."""
    given = torch.ones(length, dtype=x.dtype) if window is None else window
    before = (n_fft - length) // 2
    return functional.pad(given, [before, n_fft - length - before]) if length < n_fft else given


def _along(re: Tensor, im: Tensor | None, dim: int, sign: int) -> Pair:
    """Transform one axis, without a factor: ``sum of x[t] exp(sign 2 pi i k t / n)``."""
    re, im = re.movedim(dim, -1), None if im is None else im.movedim(dim, -1)
    found = _transformed(re, im, sign)
    return found[0].movedim(-1, dim), found[1].movedim(-1, dim)


def _transformed(re: Tensor, im: Tensor | None, sign: int) -> Pair:
    size = re.shape[-1]
    first = _divisor(size)
    if first == 1:
        with computed_now():
            cosines, sines = (each.T.contiguous().to(re.dtype) for each in _waves(size, sign))
        return _times((re, im), (cosines, sines), torch.matmul)
    second = size // first
    lead = re.shape[:-1]
    grid = [None if x is None else x.reshape(*lead, first, second) for x in (re, im)]
    assert grid[0] is not None
    columns = _along(grid[0], grid[1], -2, sign)
    with computed_now():
        turns = torch.arange(first)[:, None] * torch.arange(second)
        angles = turns.double() * (sign * 2 * math.pi / size)
        twiddles = angles.cos().to(re.dtype), angles.sin().to(re.dtype)
    rows = _transformed(*_times(columns, twiddles, torch.mul), sign)
    return tuple(x.transpose(-1, -2).reshape(*lead, size) for x in rows)  # type: ignore[return-value]


def _times(x: tuple[Tensor, Tensor | None], y: Pair, product: Any) -> Pair:
    """Multiply complex numbers, the first of which may be real."""
    re, im = product(x[0], y[0]), product(x[0], y[1])
    if x[1] is None:
        return re, im
    return re - product(x[1], y[1]), im + product(x[1], y[0])


def _divisor(size: int) -> int:
    """Return the divisor nearest to the root of a large size; 1 for a small or prime one."""
    if size <= _WHOLE:
        return 1
    return next(d for d in range(math.isqrt(size), 0, -1) if size % d == 0)


def _waves(size: int, sign: int) -> Pair:
    """Return cosines and sines: frequencies, times."""
    turns = torch.arange(size)[:, None] * torch.arange(size) % size
    angles = turns.double() * (sign * 2 * math.pi / size)
    return angles.cos(), angles.sin()


def _half_inverse(size: int) -> Pair:
    """Return what each frequency up to the middle adds to each time, its mirror image included."""
    half = size // 2 + 1
    cosines, sines = (each[:half] for each in _waves(size, 1))
    times = torch.full((half, 1), 2.0, dtype=torch.double)
    times[0] = 1
    if size % 2 == 0:
        times[-1] = 1
    return cosines * times, -sines * times


def _mirrored(pair: Pair, dim: int, size: int) -> Pair:
    """Return the whole spectrum of a real signal, of which the first half is given."""
    re, im = (each.narrow(dim, 0, size // 2 + 1) for each in pair)
    rest = (size - 1) // 2
    re = torch.cat([re, re.narrow(dim, 1, rest).flip(dim)], dim)
    return re, torch.cat([im, -im.narrow(dim, 1, rest).flip(dim)], dim)


def _scaled(pair: Pair, size: int, normalization: int) -> Pair:
    """Apply PyTorch's normalization: 0 for none, 1 by the root of the size, 2 by the size."""
    if normalization == 0:
        return pair
    factor = 1 / (math.sqrt(size) if normalization == 1 else size)
    return pair[0] * factor, pair[1] * factor
