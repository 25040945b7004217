"""Whose fault is it: turn a foreign exception into the line and the words that help."""

from __future__ import annotations

import os
import re
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')


@cache
def is_users(file: str) -> bool:
    """Whether a source file is the user's: not Python's, not an installed package's, not ours."""
    path = Path(file)
    if file.startswith("<") or {"site-packages", "dist-packages"} & set(path.parts):
        return False
    return not any(path.is_relative_to(folder) for folder in _library_folders())


def user_line(error: BaseException) -> str | None:
    """Return "file:line" of the innermost place in the user's own code that an error tells of.

    Looked at, in this order: where a syntax error stands, the traceback, the frames that torch's
    compiler writes into its messages, and the errors that this one was raised from.
    """
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        places = [f"{file}:{line}" for file, line in _places(current) if is_users(file)]
        if places:
            return places[-1]
        current = current.__cause__ or current.__context__
    return None


def traced_line(stack_trace: str) -> str | None:
    """Return "file:line" of the call that a graph's node was traced from: the user's own if any."""
    places = [(found["file"], int(found["line"])) for found in _FRAME.finditer(stack_trace)]
    own = [place for place in places if is_users(place[0])]
    foreign = [place for place in places if f"{os.sep}torch{os.sep}" not in place[0]]
    file, line = next(reversed(own or foreign or places), ("", 0))
    return f"{file}:{line}" if file else None


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message that says something."""
    if isinstance(error, SyntaxError):
        return error.msg or "invalid syntax"
    return next((line for line in map(plain, str(error).splitlines()) if line), "no message")


def plain(line: str) -> str:
    """Return a line without the colours of a terminal and the space around it."""
    return _COLOUR.sub("", line).strip()


_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def _places(error: BaseException) -> Iterator[tuple[str, int]]:
    for found in _FRAME.finditer(str(error)):
        yield found["file"], int(found["line"])
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame.f_code.co_filename, trace.tb_lineno
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.filename:
        yield error.filename, error.lineno or 1


@cache
def _library_folders() -> tuple[Path, ...]:
    known = (sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    return (Path(__file__).parent, *(Path(folder) for folder in known if folder))


def root_cause(error: BaseException) -> BaseException:
    """Return the exception that an exception was raised from, and that one from, to the first."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
