"""Options that several commands share, and the one way in which they print."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.text import Text

from edgekit.text import printable

_ENDLESS = 10_000  # columns: a table is as wide as its content
F = TypeVar("F", bound=Callable[..., Any])


def json_option(function: F) -> F:
    """Add ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(
        function
    )


def talk_options(function: F) -> F:
    """Add ``-v`` and ``-q``."""
    function = click.option("-v", "--verbose", is_flag=True, help="Show tracebacks and details.")(
        function
    )
    return click.option("-q", "--quiet", is_flag=True, help="Show errors only.")(function)


def source_options(function: F) -> F:
    """Add what says how a source is loaded: ``--weights``, ``--input``, ``--input-data``."""
    for option in (
        click.option("--weights", metavar="FILE", help="State dict: .safetensors, .pt or .pth."),
        click.option(
            "--input",
            "inputs",
            multiple=True,
            metavar="NAME:DIMS[:DTYPE]",
            help='Shape of an input, e.g. "image:1,3,224,224" or "x:1..8,3,224,224"; repeatable.',
        ),
        click.option(
            "--input-data", metavar="PATH", help="Inputs to verify on: an .npz file or a folder."
        ),
    ):
        function = option(function)
    return function


def counts(text: str, option: str) -> list[int]:
    """Return the numbers of a list like ``1,2,4``."""
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(1 <= each <= 256 for each in found):
        raise click.UsageError(f"{option} {text} is not possible: write it like 1 or 1,2,4.")
    return found


def print_json(data: Any) -> None:
    """Print plain data to standard output."""
    click.echo(json.dumps(data, indent=2, default=str))


class _Safe(Console):
    """A console that no escape sequence passes but its own: tables hold text from elsewhere."""

    def render_str(self, text: str, **how: Any) -> Text:
        return super().render_str(printable(text, keep="\n\t"), **how)


def out() -> Console:
    """Return a console on standard output: for data, which a pipe gets whole."""
    piped = not sys.stdout.isatty()
    return _Safe(highlight=False, soft_wrap=piped, width=_ENDLESS if piped else None)


def err(*, quiet: bool = False) -> Console:
    """Return a console on standard error: for talk."""
    return _Safe(stderr=True, highlight=False, quiet=quiet)
