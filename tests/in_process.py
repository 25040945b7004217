"""Conversion in this process: it imports the converters once, where each worker would again."""

from typing import Any

import edgekit
from edgekit.quiet import quiet


def convert(source: Any, *arguments: Any, **options: Any) -> edgekit.ConvertReport:
    """Convert without workers; what their logs would take is dropped."""
    with quiet():
        return edgekit.convert(source, *arguments, isolate=False, **options)
