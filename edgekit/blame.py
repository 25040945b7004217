"""Whose fault is it: turn a foreign exception into the line and the words that help."""

from __future__ import annotations

import sys
from pathlib import Path


def user_line(error: BaseException) -> str | None:
    """Return "file:line" of the innermost frame that is neither a library's nor ours."""
    place = None
    trace = error.__traceback__
    ours = str(Path(__file__).parent)
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        library = "site-packages" in file or file.startswith((sys.base_prefix, ours, "<"))
        if not library:
            place = f"{file}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
