"""TOML tables become frozen dataclasses; a wrong key or type is an error that names it."""

from __future__ import annotations

import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from edgekit import registry
from edgekit.errors import UnknownNameError, UsageError

T = TypeVar("T")
_NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def read_toml(path: Path) -> dict[str, Any]:
    """Return what a TOML file holds.

    Raises:
        UsageError: it cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is no readable TOML file: {error}.") from error


def build(kind: type[T], table: Any, where: str, **given: Any) -> T:
    """Return the dataclass `kind` that a table describes.

    Args:
        kind: Its fields are texts, numbers, booleans, tuples of those, tables of texts, or other
            dataclasses; a field without a default must be there.
        table: What was read.
        where: What to call the table in an error.
        given: Fields that do not come from the table.

    Raises:
        UsageError: something is missing or of the wrong type.
        UnknownNameError: a key is not known; the hint offers the nearest.
    """
    if not isinstance(table, dict):
        raise UsageError(f"{where} is {table!r}, not a table.")
    hints = {name: hint for name, hint in _hints(kind).items() if name not in given}
    for key in table:
        if key not in hints:
            _unknown(key, hints, where)
    for field in fields(kind):  # type: ignore[arg-type]
        required = field.default is MISSING and field.default_factory is MISSING
        if required and field.name in hints and field.name not in table:
            raise UsageError(f"{where}: {field.name} is missing.")
    values = {key: _value(hints[key], value, f"{where}: {key}") for key, value in table.items()}
    return kind(**given, **values)


def _hints(kind: type[Any]) -> Mapping[str, Any]:
    return typing.get_type_hints(kind)


def _unknown(key: str, known: Mapping[str, Any], where: str) -> None:
    try:
        near = registry.match(key, known, "key")
        hint = f"Did you mean {near!r}?"
    except UnknownNameError as error:
        hint = error.hint or ""
    raise UnknownNameError(f"{where}: there is no key {key!r}.", hint)


def _value(hint: Any, value: Any, where: str) -> Any:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):  # `X | None`: a key that is absent is None
        return _value(parts[0], value, where)
    if is_dataclass(hint):
        return build(typing.cast("type[Any]", hint), value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise UsageError(f"{where} must be a list.")
        return tuple(
            _value(parts[0], each, f"{where}[{number}]") for number, each in enumerate(value)
        )
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            raise UsageError(f"{where} must be a table.")
        return {key: _value(parts[1], each, f"{where}.{key}") for key, each in value.items()}
    fine = type(value) is hint or (hint is float and type(value) is int)
    if not fine:
        raise UsageError(f"{where} must be {_NAMES[hint]}, not {value!r}.")
    return value
