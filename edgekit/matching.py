"""Which value of one graph is which value of another: by content, and else by name.

By content two arrays are the same value when the SQNR between them, up to the order of their axes,
is at least `SAME_DB`; that finds fused, renamed and transposed ones.  It cannot find a value that
came out wrong.  For these the names speak: a converter begins a value's name with that of the
source's own (``conv2d_1_cast_fp16``), or spells the path of its layer (``model/blocks/head;2``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from edgekit import metrics
from edgekit.runtimes import Array, Arrays

SAME_DB = 20.0
_SMALLEST = 4  # elements; fewer are equal by chance
_HIGHEST_RANK = 5  # whose orders of axes are tried
_THRESHOLDS = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Match:
    """The value of the other graph that a value is, and how near it comes."""

    value: str
    sqnr_db: float


def match(references: Arrays, values: Arrays, layers: Mapping[str, str]) -> dict[str, Match]:
    """Find each reference among the values of another graph; both in the order of computation.

    Args:
        references: The source graph's values.
        values: The other graph's.
        layers: Path of the layer that each reference belongs to.
    """
    pool = _Pool({name: value for name, value in values.items() if _is_comparable(value)})
    wanted = {name: value for name, value in references.items() if _is_comparable(value)}
    found = {}
    for name, reference in wanted.items():
        same = pool.same_as(reference)
        if same is not None:
            found[name] = same
    taken = {each.value for each in found.values()}
    free = [name for name in pool.values if name not in taken]
    for name, hints in _hints(wanted, free, layers).items():
        if name in found:
            continue
        named = _nearest(wanted[name], {hint: pool.values[hint] for hint in hints})
        if named is not None:
            found[name] = named
    return {name: found[name] for name in wanted if name in found}


def named_after(value: str, names: Iterable[str]) -> str | None:
    """Return the longest of `names` that the name of a converter's value begins with."""
    fitting = [name for name in names if value == name or value.startswith(f"{name}_")]
    return max(fitting, key=len, default=None)


def sqnr_db(reference: Array, value: Array) -> float:
    """Return the highest SQNR of `value` over all orders of axes in which it fits."""
    return max(
        (
            metrics.compare(reference, each).sqnr_db
            for each in _arrangements(value, reference.shape)
        ),
        default=-math.inf,
    )


# -- Content ---------------------------------------------------------------------------------------


class _Pool:
    """Values to choose from, by size, each with a sketch that rules most of them out."""

    def __init__(self, values: Arrays) -> None:
        self.values = values
        self._by_size: dict[int, list[str]] = {}
        for name, value in values.items():
            self._by_size.setdefault(value.size, []).append(name)
        self._sketches = {name: _sketch(value) for name, value in values.items()}

    def same_as(self, reference: Array) -> Match | None:
        """Return the nearest value that is the same one, the last of equals."""
        sketch = _sketch(reference)
        bound = sketch[0] * 10 ** (-SAME_DB / 20)
        found = [
            Match(name, sqnr_db(reference, self.values[name]))
            for name in self._by_size.get(reference.size, [])
            if np.abs(self._sketches[name] - sketch).max() <= bound
        ]
        found = [each for each in found if each.sqnr_db >= SAME_DB]
        return max(reversed(found), key=lambda each: each.sqnr_db, default=None)


def _sketch(value: Array) -> Array:
    """Return figures that differ by at most the root mean square of the difference of two arrays.

    That holds of the root mean square itself and of the mean of any function of the elements whose
    slope is at most 1, and needs no order of axes.
    """
    flat = value.astype(np.float64).ravel()
    with np.errstate(over="ignore", invalid="ignore"):
        means = [np.maximum(flat, bound).mean() for bound in _THRESHOLDS]
        figures = np.array([np.sqrt(np.square(flat).mean()), flat.mean(), *means])
    return np.where(np.isnan(figures), np.inf, figures)


def _arrangements(value: Array, shape: tuple[int, ...]) -> Iterator[Array]:
    """Yield `value` in `shape` for every order of its axes that allows it; axes of 1 have none."""
    if value.size != math.prod(shape):
        return
    core = value.reshape([size for size in value.shape if size != 1])
    wanted = tuple(size for size in shape if size != 1)
    if core.ndim == len(wanted) <= _HIGHEST_RANK and sorted(core.shape) == sorted(wanted):
        for order in permutations(range(core.ndim)):
            if tuple(core.shape[axis] for axis in order) == wanted:
                yield core.transpose(order).reshape(shape)
    else:
        yield value.reshape(shape)


def _is_comparable(value: Array) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.size >= _SMALLEST


# -- Names -----------------------------------------------------------------------------------------


def _hints(
    references: Iterable[str], values: Iterable[str], layers: Mapping[str, str]
) -> dict[str, list[str]]:
    """Return, for each reference, the values whose names speak of it or of its layer."""
    names = list(references)
    hints: dict[str, list[str]] = {name: [] for name in names}
    for value in values:
        origin = named_after(value, names)
        if origin is not None:
            hints[origin].append(value)
            continue
        paths = [_parts(path) for path in value.split(";;")]
        for name in names:
            if any(_spells(path, layers.get(name, "")) for path in paths):
                hints[name].append(value)
    return hints


def _parts(path: str) -> list[str]:
    return re.sub(r";\d*$", "", path).split("/")


def _spells(parts: Sequence[str], layer: str) -> bool:
    """Whether a path ends with the layer's."""
    wanted = layer.split(".") if layer else []
    return bool(wanted) and parts[-len(wanted) :] == wanted


def _nearest(reference: Array, values: Arrays) -> Match | None:
    """Return the nearest of some values, the last of equals: a layer's last one is its result."""
    found = [
        Match(name, sqnr_db(reference, value))
        for name, value in values.items()
        if value.size == reference.size
    ]
    return max(reversed(found), key=lambda each: each.sqnr_db, default=None)
