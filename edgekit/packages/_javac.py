"""Java's compiler, where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from edgekit.errors import ConversionError
from edgekit.packages import Files

RELEASE = "8"
"""Of Java: what every Android build takes."""


def version() -> str | None:
    """Return the version of javac, or None where it is not installed."""
    if shutil.which("javac") is None:
        return None
    done = subprocess.run(["javac", "-version"], capture_output=True, text=True, check=False)  # noqa: S607
    found = re.search(r"\d[\w.+-]*", done.stdout + done.stderr)
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
            "--release",
            RELEASE,
            "-Xlint:-options",
            "-g:none",
            "-encoding",
            "UTF-8",
        ]
        command += ["-proc:none", "-implicit:none", "-sourcepath", "stubs", "-d", "classes"]
        command += [f"sources/{name}" for name in sorted(sources)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode != 0:
            raise ConversionError(
                f"javac refuses the wrapper: {done.stderr.strip().splitlines()[0]}",
                "This is a defect of edgekit; please report it with the model's signature.",
            )
        classes = Path(folder, "classes")
        return {
            path.relative_to(classes).as_posix(): path.read_bytes()
            for path in sorted(classes.rglob("*.class"))
        }
