"""How far one array is from another.

With reference ``r`` and error ``e = value - r``:

- SQNR in dB is ``10 log10(sum(r^2) / sum(e^2))``; infinite where there is no error.
- cosine is ``sum(r v) / sqrt(sum(r^2) sum(v^2))``.
- max_abs is ``max|e|``; max_rel is ``max|e| / max|r|`` over elements, i.e. relative to the peak.
- argmax agreement is the share of positions whose largest element along the class axis is the same.

All are computed in float64.  Elements that are NaN or the same infinity on both sides count as
equal and are left out; one that is NaN or infinite on one side only is an infinite error, so that
SQNR is -inf, cosine 0, and max_abs and max_rel are inf.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgekit.runtimes import Array


@dataclass(frozen=True)
class Difference:
    """What `compare` found between a reference and a value of the same shape.

    Attributes:
        sqnr_db: Signal-to-error power ratio in dB; infinite when equal.
        cosine: Cosine similarity; 1.0 when both are zero throughout.
        max_abs: Largest absolute error.
        max_rel: Largest absolute error as a share of the reference's largest magnitude.
        argmax_agreement: Share of equal argmax along the class axis; None where there is none.
        equal_share: Share of elements that are equal.
        nonfinite: How many elements of the reference are NaN or infinite.
        nonfinite_mismatch: How many elements are NaN or infinite on one side only, or not the same.
    """

    sqnr_db: float
    cosine: float
    max_abs: float
    max_rel: float
    argmax_agreement: float | None
    equal_share: float
    nonfinite: int
    nonfinite_mismatch: int


def compare(reference: Array, value: Array) -> Difference:
    """Compare two arrays of one shape; see the top of this module for the formulas."""
    r, v = _float64(reference), _float64(value)
    finite = np.isfinite(r) & np.isfinite(v)
    both_odd = ~np.isfinite(r) & ~np.isfinite(v)
    same_odd = both_odd & ((np.isnan(r) & np.isnan(v)) | (r == v))
    mismatch = int(r.size - finite.sum() - same_odd.sum())
    rf, vf = r[finite], v[finite]
    error = vf - rf
    signal, noise = float(np.dot(rf, rf)), float(np.dot(error, error))
    peak = float(np.abs(rf).max(initial=0.0))
    worst = float(np.abs(error).max(initial=0.0))
    return Difference(
        sqnr_db=-math.inf if mismatch else _decibels(signal, noise),
        cosine=0.0 if mismatch else _cosine(float(np.dot(rf, vf)), signal, float(np.dot(vf, vf))),
        max_abs=math.inf if mismatch else worst,
        max_rel=math.inf if mismatch else _share(worst, peak),
        argmax_agreement=_argmax_agreement(reference, value),
        equal_share=float(((r == v) | same_odd).mean()) if r.size else 1.0,
        nonfinite=int((~np.isfinite(r)).sum()),
        nonfinite_mismatch=mismatch,
    )


def _float64(array: Array) -> Array:
    return np.asarray(array).astype(np.float64).reshape(-1)


def _share(worst: float, peak: float) -> float:
    if peak:
        return worst / peak
    return math.inf if worst else 0.0


def _decibels(signal: float, noise: float) -> float:
    if noise == 0.0:
        return math.inf
    return 10.0 * math.log10(signal / noise) if signal > 0.0 else -math.inf


def _cosine(product: float, left: float, right: float) -> float:
    if left == 0.0 or right == 0.0:
        return 1.0 if left == right else 0.0
    return product / math.sqrt(left * right)


def _argmax_agreement(reference: Array, value: Array) -> float | None:
    """Compare argmax along axis 1 (classes of N,C,... outputs); axis 0 of a vector."""
    if reference.dtype.kind != "f" or reference.ndim == 0 or not reference.size:
        return None
    axis = min(1, reference.ndim - 1)
    if reference.shape[axis] < 2:
        return None
    return float(np.mean(reference.argmax(axis) == value.argmax(axis)))
