"""Checks of single values in a declaration.

A check takes a value as it was written and returns it in its one form, or raises ValueError with
the end of a sentence: "must be ...".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

Check = Callable[[Any], Any]


def one_of(*choices: str) -> Check:
    """Accept one of some words."""

    def check(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return str(value)

    return check


def number(value: Any) -> float:
    """Accept a finite number."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError("must be a number")
    return float(value)


def not_negative(value: Any) -> float:
    """Accept a number from 0."""
    if number(value) < 0:
        raise ValueError("must be a number from 0")
    return float(value)


def positive(value: Any) -> float:
    """Accept a number above 0."""
    if number(value) <= 0:
        raise ValueError("must be a number above 0")
    return float(value)


def whole(lowest: int) -> Check:
    """Accept an integer from `lowest`."""

    def check(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
            raise ValueError(f"must be a whole number from {lowest}")
        return value

    return check


def text(value: Any) -> str:
    """Accept text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError("must be text")
    return value


def flag(value: Any) -> bool:
    """Accept true and false."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def optional(check: Check) -> Check:
    """Accept None as well."""
    return lambda value: None if value is None else check(value)


def some(check: Check) -> Check:
    """Accept one value or a list of them; return a tuple."""

    def check_all(value: Any) -> tuple[Any, ...]:
        given = value if isinstance(value, (list, tuple)) else (value,)
        if not given:
            raise ValueError("must not be an empty list")
        return tuple(map(check, given))

    return check_all


def size(value: Any) -> tuple[int, int]:
    """Accept [height, width], or one number for both."""
    given = value if isinstance(value, (list, tuple)) else (value, value)
    if len(given) != 2:
        raise ValueError("must be [height, width], or one number for both")
    height, width = map(whole(1), given)
    return height, width


def limits(value: Any) -> tuple[float, float]:
    """Accept [lowest, highest]."""
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ValueError("must be [lowest, highest]")
    lowest, highest = map(number, value)
    if lowest > highest:
        raise ValueError("must be [lowest, highest], in this order")
    return lowest, highest


def labels(value: Any) -> str | tuple[str, ...]:
    """Accept a list of names, or the name of a file with one a line."""
    if isinstance(value, str):
        return text(value)
    if not isinstance(value, (list, tuple)):
        raise ValueError("must be a list of names, or the name of a file with one a line")
    return tuple(some(text)(value))
