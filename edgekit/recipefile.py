"""Recipe files: TOML, checked key by key; a mistake is one sentence that names the file and key."""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from edgekit.errors import UnknownNameError, UsageError

# Bits that one weight takes, by what weights are stored in.
BITS = {"float32": 32, "float16": 16, "int8": 8, "int4": 4, "lut6": 6, "lut4": 4}
ACTIVATIONS = ("float32", "float16", "int8", "int16", "dynamic")
# How many weights of a channel share a scale; None where all of it does, or the whole tensor.
BLOCKS = {"tensor": None, "channel": None, "block_32": 32, "block_64": 64, "block_128": 128}
METHODS = ("auto", "min_max", "moving_average", "percentile", "entropy", "mse")
ROUNDINGS = ("nearest", "adaptive")

Check = Callable[[Any], str]  # what a value should be; empty where it is that


def read(path: Path) -> dict[str, Any]:
    """Return what a file says, the tables ``[[override]]`` under ``overrides``.

    Raises:
        UsageError: it cannot be read, or holds a key or a value that means nothing.
    """
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is no readable TOML file: {error}.") from error
    tables = {name: data.pop(name) for name in _TABLES if name in data}
    overrides = data.pop("override", [])
    inherits = "base" in data
    known = [*_OWN, *_TABLES, "override"]
    _check(path, data, _OWN, () if inherits else _REQUIRED, "the file", known)
    if not inherits and "tolerance" not in tables:
        raise UsageError(f"{path}: tolerance must be given.")
    for name, table in tables.items():
        keys, needed = _TABLES[name]
        _check(path, table, keys, needed, name)
    if not isinstance(overrides, list):
        raise UsageError(f"{path}: override must be given as tables [[override]].")
    for place, table in enumerate(overrides, 1):
        _check_override(path, table, f"override {place}")
    return {**data, **tables, "overrides": tuple(overrides)}


def _check_override(path: Path, table: Any, name: str) -> None:
    _check(path, table, {**_SELECTORS, **_PRECISION}, (), name)
    if not _SELECTORS.keys() & table.keys():
        raise UsageError(f"{path}: {name} must say which layer or operator it is for.")
    if not _PRECISION.keys() & table.keys():
        raise UsageError(
            f"{path}: {name} changes nothing.", f"Give one of {', '.join(_PRECISION)}."
        )


def _check(
    path: Path,
    table: Any,
    keys: Mapping[str, Check],
    needed: Iterable[str],
    name: str,
    known: Iterable[str] = (),
) -> None:
    """Raise the first thing that is wrong with a table: a key too many, too few, or its value."""
    if not isinstance(table, dict):
        raise UsageError(f"{path}: {name} is {table!r}, not a table.")
    for key in table:
        if key not in keys:
            raise UnknownNameError(f"{path}: unknown key {key}.", _nearest(key, known or keys))
        if wanted := keys[key](table[key]):
            raise UsageError(f"{path}: {key} must be {wanted}.")
    for key in needed:
        if key not in table:
            raise UsageError(f"{path}: {key} must be given.")


def _nearest(key: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(key, names, n=1)
    return f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(names)}."


# -- Values ----------------------------------------------------------------------------------------


def _number(value: Any) -> str:
    fine = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return "" if fine else "a finite number"


def _share(value: Any) -> str:
    return _number(value) or ("" if 0 <= value < 1 else "at least 0 and below 1")


def _percentile(value: Any) -> str:
    return _number(value) or ("" if 50 < value <= 100 else "above 50 and at most 100")


def _strength(value: Any) -> str:
    return _number(value) or ("" if 0 <= value <= 1 else "at least 0 and at most 1")


def _flag(value: Any) -> str:
    return "" if isinstance(value, bool) else "true or false"


def _text(value: Any) -> str:
    return "" if isinstance(value, str) else "a text"


def _texts(value: Any) -> str:
    return "" if isinstance(value, list) and not any(map(_text, value)) else "a list of texts"


def _pattern(value: Any) -> str:
    try:
        re.compile(value)
    except (re.error, TypeError) as error:
        return f"a regular expression ({error})"
    return ""


def _one_of(choices: Iterable[str]) -> Check:
    listed = list(choices)
    return lambda value: "" if value in listed else f"one of {', '.join(listed)}"


# -- Tables ----------------------------------------------------------------------------------------

_REQUIRED = ("description", "aliases", "weights", "activations")
_SELECTORS: dict[str, Check] = {"layer": _pattern, "operator": _text}
_BOUNDS: dict[str, Check] = dict.fromkeys(
    ("sqnr_db", "cosine", "max_abs_of_peak", "integer_agreement"), _number
)
_PRECISION: dict[str, Check] = {
    "weights": _one_of(BITS),
    "activations": _one_of(ACTIVATIONS),
    "granularity": _one_of(BLOCKS),
    "sparsity": _share,
}
_OWN: dict[str, Check] = {"description": _text, "aliases": _texts, **_PRECISION, "base": _text}
_TABLES: dict[str, tuple[dict[str, Check], tuple[str, ...]]] = {  # keys, and those needed
    "tolerance": (_BOUNDS, tuple(_BOUNDS)),
    "source_tolerance": (_BOUNDS, tuple(_BOUNDS)),
    "calibration": (
        {
            "method": _one_of(METHODS),
            "percentile": _percentile,
            "correct_bias": _flag,
            "reduce_range": _flag,
            "equalize": _flag,
            "migration_strength": _strength,
            "rounding": _one_of(ROUNDINGS),
        },
        ("method",),
    ),
}
