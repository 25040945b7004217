"""Generated code: Jinja2 templates in ``templates/``, and literals for the languages."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from xml.sax import saxutils

from edgekit.formats import missing

_PLAIN_IN_C = frozenset(string.ascii_letters + string.digits + " _.,:;()[]{}<>=+*/!@$^&~|'-")
FOLDER = Path(__file__).parent / "templates"


@cache
def _environment() -> Any:
    reason = missing(("jinja2",), "Packaging", "package")
    if reason is not None:
        raise reason
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - this is code, and every value in it passes a filter
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["python"] = python_literal
    environment.filters["java"] = java
    environment.filters["quoted"] = quoted
    environment.filters["c_string"] = c_string
    environment.filters["xml"] = saxutils.escape
    environment.filters["sentence"] = sentence
    return environment


def render(name: str, values: Mapping[str, Any]) -> bytes:
    """Return a template filled in; a value that it names and that is missing is an error."""
    text: str = _environment().get_template(f"{name}.j2").render(**values)
    return text.encode()


def quoted(text: str) -> str:
    """Return a string literal that C's descendants, Python and Swift read alike."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def c_string(text: str) -> str:
    """Return text as a C string of UTF-8; what C might read otherwise is spelled in octal."""
    letters = (chr(byte) if chr(byte) in _PLAIN_IN_C else f"\\{byte:03o}" for byte in text.encode())
    return f'"{"".join(letters)}"'


def sentence(text: str) -> str:
    """Return text as a comment or docstring can hold it: one line that ends nothing early."""
    line = " ".join(text.split()).replace("\\", "/").replace('"""', "'''").replace("*/", "* /")
    return line.rstrip('"')


def python_literal(value: Any, indent: int = 0) -> str:
    """Return a value as Python; long tuples have an item a line, as formatters write them."""
    if isinstance(value, str):
        return quoted(value)
    if not isinstance(value, (tuple, list)):
        return repr(value)
    items = [python_literal(item, indent + 4) for item in value]
    line = f"({', '.join(items)}{',' * (len(items) == 1)})"
    if len(line) + indent <= 60:
        return line
    pad = " " * (indent + 4)
    return "(\n" + "".join(f"{pad}{item},\n" for item in items) + " " * indent + ")"


def java(value: Any, *, exact: bool = False) -> str:
    """Return a value as Java; numbers as doubles where `exact`, else as ints."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, (tuple, list)):
        kind = "double" if exact else "int"
        return f"new {kind}[] {{{', '.join(java(item, exact=exact) for item in value)}}}"
    return repr(float(value)) if exact else str(int(value))
