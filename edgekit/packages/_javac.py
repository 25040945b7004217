"""Java's compiler, where there is one."""

from __future__ import annotations

import re
import shutil
import tempfile
from functools import cache
from pathlib import Path

from edgekit.errors import ConversionError
from edgekit.packages import Files
from edgekit.worker import run_tool

_QUICK = ("-J-XX:TieredStopAtLevel=1", "-J-XX:+UseSerialGC")
"""For a process that lives a second."""
RELEASE = "8"
"""Of Java: what every Android build takes."""


@cache
def version() -> str | None:
    """Return the version of javac, or None where it is not installed."""
    if shutil.which("javac") is None:
        return None
    found = re.search(r"\d[\w.+-]*", run_tool(["javac", "-version"], Path.cwd()).output)
    return found[0] if found else None


def compiled(sources: Files, stubs: Files) -> Files:
    """Return the class files of `sources`.

    Args:
        sources: Java files by path.
        stubs: Java files of what the sources call and the app provides; not part of the result.

    Raises:
        ConversionError: the compiler refuses them, which is a defect of edgekit.
    """
    with tempfile.TemporaryDirectory(prefix="edgekit-javac-") as folder:
        for kind, files in (("sources", sources), ("stubs", stubs)):
            for name, content in files.items():
                path = Path(folder, kind, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        command = [
            "javac",
            *_QUICK,
            "--release",
            RELEASE,
            "-Xlint:-options",
            "-g:none",
            "-encoding",
            "UTF-8",
        ]
        command += ["-proc:none", "-implicit:none", "-sourcepath", "stubs", "-d", "classes"]
        command += [f"sources/{name}" for name in sorted(sources)]
        done = run_tool(command, Path(folder))
        if done.code != 0:
            raise ConversionError(
                f"javac refuses the wrapper: {(done.output.strip() or '?').splitlines()[0]}",
                "This is a defect of edgekit; please report it with the model's signature.",
            )
        classes = Path(folder, "classes")
        return {
            path.relative_to(classes).as_posix(): path.read_bytes()
            for path in sorted(classes.rglob("*.class"))
        }
