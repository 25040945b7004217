"""Progress on standard error: one line per running process, on a terminal only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[str, str], None]
_FINAL = {"passed", "failed", "not_run"}


@contextmanager
def shown(*, quiet: bool) -> Iterator[Progress]:
    """Return a progress function that draws on a terminal, and stays silent elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield lambda _who, _what: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.fields[who]:<8}"),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks = {}

        def progress(who: str, what: str) -> None:
            if who not in tasks:
                tasks[who] = bars.add_task(what, total=1, who=who)
                if who != "export" and "export" in tasks:
                    bars.update(tasks["export"], description="exported", completed=1)
            bars.update(tasks[who], description=what, completed=int(what in _FINAL))

        yield progress
