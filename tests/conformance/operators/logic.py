"""Comparison, boolean algebra, bits, choice by a condition."""

import math

import torch

from tests.conformance.operators.values import flags, integers, normal, positive

I32 = torch.int32
A, B = integers(0, 16, 3, 4), integers(0, 16, 3, 4)
P, Q = flags(3, 4), flags(3, 4)


def _all_kinds(x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"eq": x == y, "ne": x != y, "lt": x < y, "le": x <= y, "gt": x > y, "ge": x >= y}


CASES = {
    "eq, int64": (torch.eq, integers(0, 3, 3, 4), integers(0, 3, 3, 4)),
    "eq, scalar": (lambda x: x == 1, integers(0, 3, 3, 4)),
    "eq, bool": (torch.eq, P, Q),
    "ne": (torch.ne, integers(0, 3, 3, 4, dtype=I32), integers(0, 3, 4, dtype=I32)),
    "lt": (torch.lt, normal(2, 3, 4), normal(3, 1)),
    "le, scalar": (lambda x: x <= 0.2, normal(3, 4)),
    "gt, int64 and a float scalar": (lambda x: x > 0.5, integers(-2, 3, 3, 4)),
    "ge, int64 and float32": (torch.ge, integers(-2, 3, 3, 4), normal(3, 4)),
    "all six, int64": (_all_kinds, integers(0, 3, 3, 4), integers(0, 3, 3, 4)),
    "all six, float32": (_all_kinds, normal(3, 4), normal(3, 4)),
    "isclose": (torch.isclose, normal(3, 4), normal(3, 4)),
    "logical_and": (torch.logical_and, P, Q),
    "logical_and, int64": (torch.logical_and, integers(0, 2, 3, 4), integers(0, 2, 3, 4)),
    "logical_or": (torch.logical_or, P, Q),
    "logical_xor": (torch.logical_xor, P, Q),
    "logical_not": (torch.logical_not, P),
    "logical_not, float32": (lambda x: torch.logical_not(x.relu()), normal(3, 4)),
    "bitwise_and": (torch.bitwise_and, A, B),
    "bitwise_and, int32 and scalar": (lambda x: x & 6, integers(0, 16, 3, 4, dtype=I32)),
    "bitwise_or": (torch.bitwise_or, A, B),
    "bitwise_xor": (torch.bitwise_xor, A, B),
    "bitwise_not": (torch.bitwise_not, A),
    "bitwise_and, bool": (lambda x, y: x & y, P, Q),
    "bitwise_or, bool": (lambda x, y: x | y, P, Q),
    "bitwise_xor, bool": (lambda x, y: x ^ y, P, Q),
    "bitwise_not, bool": (lambda x: ~x, P),
    "left shift": (lambda x: x << 2, A),
    "right shift": (lambda x: x >> 1, A),
    "where": (torch.where, P, normal(3, 4), normal(3, 4)),
    "where, broadcast": (torch.where, flags(3, 1), normal(2, 1, 4), normal(1, 4)),
    "where, scalars": (lambda x: torch.where(x > 0, 1.0, -1.0), normal(3, 4)),
    "where, tensor and scalar": (lambda p, x: torch.where(p, x, 0.0), P, normal(3, 4)),
    "where, int64": (torch.where, P, A, B),
    "where, int64 and float32": (torch.where, P, A, normal(3, 4)),
    "masked_fill": (lambda x, p: x.masked_fill(p, -1.5), normal(3, 4), P),
    "masked_fill, broadcast": (lambda x, p: x.masked_fill(p, 0), normal(2, 3, 4), flags(4)),
    "masked_fill, minus infinity": (
        lambda x, p: x.masked_fill(p, -math.inf).exp(),
        *(normal(3, 4), P),
    ),
    "masked_fill, int64": (lambda x, p: x.masked_fill(p, 7), A, P),
    "any": (lambda p: p.any(), P),
    "any, dim": (lambda x: (x > 1).any(-1), normal(3, 4)),
    "any, of int64": (lambda x: torch.any(x, dim=1, keepdim=True), integers(0, 2, 3, 2)),
    "all": (lambda x: (x > -9).all(), normal(3, 4)),
    "all, dim": (lambda p: p.all(0), flags(2, 5)),
    "all, dim and keepdim": (lambda x: (x > 0.5).all(dim=1, keepdim=True), positive(3, 2)),
    "sum, of bool": (lambda p: p.sum(-1), P),
    "bool as an index of a choice": (lambda p, x: x * p.to(x.dtype), P, normal(3, 4)),
    "cond": (
        lambda x: torch.cond(x.sum() > 0, lambda x: x * 2, lambda x: x - 1, (x,)),
        normal(3, 4),
    ),
    "cond, taken and not": (
        lambda x, y: torch.cond(
            x.mean() < 100, lambda x, y: x @ y, lambda x, y: (x @ y).relu(), (x, y)
        ),
        *(normal(3, 4), normal(4, 2)),
    ),
}
