"""Products and distances: operands of one dimension, sums of products, distances of all pairs."""

from __future__ import annotations

from functools import reduce
from string import ascii_letters
from typing import Any

import torch
from torch import Tensor

from edgekit.passes.graph import computed_now
from edgekit.passes.rules import rule


@rule("matmul.default", "mv.default", "dot.default", coreml="vectors fail or come out wrong")
def matmul(x: Tensor, y: Tensor) -> Any:
    """Give a vector its second axis for the time of the product."""
    if min(x.dim(), y.dim()) > 1:
        return NotImplemented
    left, right = x[None] if x.dim() == 1 else x, y[:, None] if y.dim() == 1 else y
    found = torch.matmul(left, right)
    return found.reshape([*x.shape[:-1], *(y.shape[:-2] + y.shape[-1:] if y.dim() > 1 else ())])


@rule("bilinear.default", coreml="no operation for it", tflite="no lowering")
def bilinear(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiply with one side, then with the other."""
    out, left, right = weight.shape
    halfway = x @ weight.permute(1, 0, 2).reshape(left, out * right)
    found = (halfway.reshape(*x.shape[:-1], out, right) * y.unsqueeze(-2)).sum(-1)
    return found if bias is None else found + bias


@rule("addbmm.default", coreml="no operation for it", tflite="no lowering", onnx="no function")
def addbmm(c: Tensor, x: Tensor, y: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """Write it as it is defined."""
    return _scaled(c, beta) + _scaled(torch.bmm(x, y).sum(0), alpha)


def _scaled(x: Tensor, factor: float) -> Tensor:
    return x if factor == 1 else x * factor


@rule(
    "cdist.default",
    "_cdist_forward.default",
    coreml="no operation for it",
    tflite="no lowering for it",
    onnx="no function for it",
)
def cdist(x: Tensor, y: Tensor, p: float = 2, _mode: int | None = None) -> Tensor:
    """Subtract all pairs; no shortcut through products, which loses small distances."""
    return _norm(x.unsqueeze(-2) - y.unsqueeze(-3), p, -1)


@rule("_pdist_forward.default", "pdist.default", coreml="no operation for it")
def pdist(x: Tensor, p: float = 2) -> Tensor:
    """Subtract each from all that follow."""
    with computed_now():
        one, two = torch.triu_indices(x.shape[0], x.shape[0], 1).unbind()
    return _norm(x.index_select(0, one) - x.index_select(0, two), p, -1)


@rule("dist.default", coreml="reads an argument that is not there")
def dist(x: Tensor, y: Tensor, p: float = 2) -> Tensor:
    """Return the norm of the difference."""
    return _norm((x - y).reshape(-1), p, 0)


def _norm(x: Tensor, p: float, dim: int) -> Tensor:
    if p == 1:
        return x.abs().sum(dim)
    if p == 2:
        return x.square().sum(dim).sqrt()
    if p == float("inf"):
        return x.abs().amax(dim)
    return x.abs().pow(p).sum(dim).pow(1 / p)


@rule("einsum.default", coreml="no ellipsis")
def einsum(equation: str, operands: list[Tensor], **_hints: Any) -> Any:
    """Give the axes behind the dots letters of their own."""
    if "..." not in equation:
        return NotImplemented
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    counts = [x.dim() - len(t.replace("...", "")) for t, x in zip(terms, operands, strict=True)]
    letters = [each for each in ascii_letters if each not in equation][: max(counts)]
    named = [
        term.replace("...", "".join(letters[len(letters) - count :]))
        for term, count in zip(terms, counts, strict=True)
    ]
    if not arrow:
        right = "..." + "".join(sorted(c for c in set(left) - set(",.") if left.count(c) == 1))
    result = right.replace("...", "".join(letters))
    return torch.einsum(f"{','.join(named)}->{result}", *operands)


@rule("einsum.default", tflite="diagonals by a comparison that it lacks")
def einsum_of_diagonals(equation: str, operands: list[Tensor], **_hints: Any) -> Any:
    """Take the diagonals out first."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if not arrow or "." in left or all(len(set(term)) == len(term) for term in terms):
        return NotImplemented
    found = [_diagonals(*each) for each in zip(terms, operands, strict=True)]
    plain = ",".join(term for term, _ in found)
    return torch.einsum(f"{plain}->{right}", *(x for _, x in found))


def _diagonals(term: str, x: Tensor) -> tuple[str, Tensor]:
    """Leave one axis of those that bear the same letter."""
    for letter in sorted(set(term)):
        while term.count(letter) > 1:
            first = term.index(letter)
            second = term.index(letter, first + 1)
            x = x.diagonal(0, first, second)
            term = term[:first] + term[first + 1 : second] + term[second + 1 :] + letter
    return term, x


@rule("_trilinear.default", coreml="no operation for it", tflite="no lowering for it")
def trilinear(
    x: Tensor,
    weight: Tensor,
    y: Tensor,
    first: list[int],
    second: list[int],
    third: list[int],
    summed: list[int],
    _unroll: int = 1,
) -> Tensor:
    """Multiply the three, each with the axes that it lacks, and sum."""

    def spread(each: Tensor, missing: list[int]) -> Tensor:
        return reduce(torch.unsqueeze, missing, each)

    product = spread(x, first) * spread(weight, second) * spread(y, third)
    return product.sum(summed)
