"""Run the shell and Python blocks of Markdown pages, in order, as a reader would.

    python scripts/run_blocks.py README.md docs/tutorial.md

A page in the repository's root runs there; any other page runs in a temporary folder that holds a
copy of sample_models/.  The shell blocks (sh, bash) of one page share folder and environment, its
Python blocks share one namespace.  The first block that fails ends the run.  An HTML comment
directly above a block changes what becomes of it:

    <!-- not run: the reason -->    it is skipped
    <!-- exit: 3 -->                its last command must end with that exit code
    <!-- file: tiny.py -->          it is saved under that name instead of being run
"""

from __future__ import annotations

import argparse
import contextlib
import io
import linecache
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RUNNABLE = ("sh", "bash", "python")

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,}) *(?P<language>[\w+-]*)")
_COMMENT = re.compile(r"^ *<!-- *(?P<key>not run|exit|file)\b(?::? *(?P<value>.*?))? *--> *$")


class BlockError(Exception):
    """A block failed, or is not well formed; the message begins with file:line."""


@dataclass(frozen=True)
class Block:
    """One fenced block: its language and code, its first line, and the comments above it."""

    page: Path
    language: str
    code: str
    line: int
    directives: dict[str, str] = field(default_factory=dict)

    @property
    def expected(self) -> int:
        """The exit code that its last command must give."""
        return int(self.directives.get("exit", "0"))


@dataclass
class Shell:
    """What a block leaves to the next one: the current folder and the environment."""

    folder: Path
    environment: dict[str, str]
    quiet: bool
    namespace: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})


def blocks(page: Path) -> Iterator[Block]:
    """Yield every fenced block of a page, whatever its language.

    Raises:
        BlockError: a fence is not closed, or a comment above one is not understood.
    """
    lines = page.read_text().splitlines()
    number = 0
    while number < len(lines):
        opening = _FENCE.match(lines[number])
        if opening is None:
            number += 1
            continue
        start = number
        closing = re.compile(rf"^ *{re.escape(opening['fence'])}`*~* *$")
        number += 1
        while number < len(lines) and closing.match(lines[number]) is None:
            number += 1
        if number == len(lines):
            raise BlockError(f"{_shown(page)}:{start + 1}: this block is never closed")
        code = textwrap.dedent("\n".join(lines[start + 1 : number])) + "\n"
        yield Block(page, opening["language"], code, start + 2, _directives(page, lines, start))
        number += 1


def _directives(page: Path, lines: list[str], fence: int) -> dict[str, str]:
    found: dict[str, str] = {}
    above = fence - 1
    while above >= 0 and (comment := _COMMENT.match(lines[above])) is not None:
        key, value = comment["key"], (comment["value"] or "").strip()
        if not value or (key == "exit" and not value.isdigit()):
            what = {"not run": "the reason", "exit": "a number", "file": "a name"}[key]
            raise BlockError(f"{_shown(page)}:{above + 1}: write <!-- {key}: {what} -->")
        found[key] = value
        above -= 1
    return found


# -- Running ---------------------------------------------------------------------------------------


def run_page(page: Path, *, quiet: bool) -> int:
    """Run the blocks of one page; return how many ran.

    Raises:
        BlockError: a block failed.
    """
    ran = 0
    with _home(page) as folder:
        shell = Shell(folder, _environment(), quiet)
        for block in blocks(page):
            if "file" in block.directives:
                (shell.folder / block.directives["file"]).write_text(block.code)
                _say(shell, f"# saved {block.directives['file']}")
            elif block.language not in RUNNABLE:
                continue
            elif "not run" in block.directives:
                reason = block.directives["not run"]
                _say(shell, f"# {_shown(page)}:{block.line} is not run: {reason}")
            else:
                (_run_python if block.language == "python" else _run_shell)(block, shell)
                ran += 1
    return ran


@contextlib.contextmanager
def _home(page: Path) -> Iterator[Path]:
    """Give the folder that a page runs in."""
    if page.resolve().parent == ROOT:
        yield ROOT
        return
    with tempfile.TemporaryDirectory(prefix="run-blocks-") as name:
        folder = Path(name)
        skip = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "sample_models", folder / "sample_models", ignore=skip)
        yield folder


def _environment() -> dict[str, str]:
    """Put this interpreter's own commands first, as an activated environment does."""
    own = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": os.pathsep.join([own, os.environ.get("PATH", os.defpath)])}


def _run_shell(block: Block, shell: Shell) -> None:
    with tempfile.TemporaryDirectory(prefix="run-blocks-") as folder:
        script, state = Path(folder) / "block.sh", Path(folder) / "state"
        script.write_text(_script(block, state))
        sys.stdout.flush()
        done = subprocess.run(
            ["bash", str(script)],
            cwd=shell.folder,
            env=shell.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if shell.quiet else None,
            stderr=subprocess.STDOUT if shell.quiet else None,
            text=True,
            check=False,
        )
        line, place, *variables = state.read_text().removesuffix("\0").split("\0")
    last = _commands(block)[-1][0] if _commands(block) else block.line
    if done.returncode != block.expected or (block.expected and int(line) != last):
        print(done.stdout or "", end="")
        expected = f" at line {last}, not {block.expected}" if block.expected else ""
        raise BlockError(f"{_shown(block.page)}:{line}: exit code {done.returncode}{expected}")
    shell.folder = Path(place)
    shell.environment = dict(each.split("=", 1) for each in variables if "=" in each)


def _script(block: Block, state: Path) -> str:
    """Return a script that prints each command before it runs, and leaves its state behind."""
    at = f'printf \'%s\\0\' "$_block_line" "$PWD" > {shlex.quote(str(state))}'
    lines = [
        "set -euo pipefail",
        f"_block_line={block.line}",
        f"trap '{_escaped(at)}; env -0 >> {shlex.quote(str(state))}' EXIT",
    ]
    for line, command in _commands(block):
        shown = textwrap.indent(command.rstrip("\n"), "  ").replace("  ", "$ ", 1)
        lines += [f"_block_line={line}", f"printf '%s\\n' {shlex.quote(shown)}", command]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("'", "'\\''")


def _commands(block: Block) -> list[tuple[int, str]]:
    """Cut a block into commands, each with its line: the shell says where one is complete."""
    found: list[tuple[int, str]] = []
    pending: list[str] = []
    for number, line in enumerate(block.code.splitlines(), block.line):
        if not pending and (not line.strip() or line.lstrip().startswith("#")):
            continue
        pending.append(line)
        if _complete("\n".join(pending)):
            found.append((number - len(pending) + 1, "\n".join(pending)))
            pending = []
    if pending:
        first = block.line + len(block.code.splitlines()) - len(pending)
        raise BlockError(f"{_shown(block.page)}:{first}: this command is not complete")
    return found


def _complete(command: str) -> bool:
    """Whether bash takes a command as it stands: here-documents that go on only earn a warning."""
    if command.endswith("\\"):
        return False
    checked = subprocess.run(["bash", "-n", "-c", command], capture_output=True, check=False)
    return not checked.returncode and not checked.stderr


def _run_python(block: Block, shell: Shell) -> None:
    """Run a block in this process, in the page's namespace; tracebacks name the page's lines."""
    where = f"{_shown(block.page)}"
    text = block.page.read_text()
    linecache.cache[where] = (len(text), None, text.splitlines(keepends=True), where)
    _say(shell, textwrap.indent(block.code.rstrip("\n"), ">>> "))
    os.chdir(shell.folder)
    os.environ.update(shell.environment)
    if str(shell.folder) not in sys.path:
        sys.path.insert(0, str(shell.folder))  # as for a script that lies there
    caught = io.StringIO()
    with contextlib.ExitStack() as stack:
        if shell.quiet:
            stack.enter_context(contextlib.redirect_stdout(caught))
        code, said = _execute("\n" * (block.line - 1) + block.code, where, shell.namespace)
    if code != block.expected:
        print(caught.getvalue(), end="")
        print(said, end="", flush=True)
        raise BlockError(f"{where}:{block.line}: exit code {code}, not {block.expected}")


def _execute(code: str, where: str, namespace: dict[str, Any]) -> tuple[int, str]:
    """Return the exit code that a script of this code has, and the traceback that it prints."""
    try:
        exec(compile(code, where, "exec", dont_inherit=True), namespace)
    except SystemExit as stop:
        return (stop.code if isinstance(stop.code, int) else int(stop.code is not None)), ""
    except Exception:  # noqa: BLE001 - whatever a page's code raises is a failed block
        return 1, traceback.format_exc()
    return 0, ""


def _say(shell: Shell, text: str) -> None:
    if not shell.quiet:
        print(text, flush=True)


def _shown(page: Path) -> str:
    resolved = page.resolve()
    return str(resolved.relative_to(ROOT) if resolved.is_relative_to(ROOT) else page)


def main() -> int:
    """Run the pages; 1 when a block failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pages", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--quiet", action="store_true", help="print only what fails")
    chosen = parser.parse_args()
    for missing in (page for page in chosen.pages if not page.is_file()):
        parser.error(f"there is no file {missing}")
    if len(chosen.pages) > 1:  # a page's Python must not see what another page imported
        flags = ["--quiet"] if chosen.quiet else []
        own = [sys.executable, __file__, *flags]
        runs = (subprocess.run([*own, str(page)], check=False) for page in chosen.pages)
        return next((run.returncode for run in runs if run.returncode), 0)
    page = chosen.pages[0].resolve()
    try:
        ran = run_page(page, quiet=chosen.quiet)
    except BlockError as error:
        print(f"FAILED {error}", file=sys.stderr)
        return 1
    if not chosen.quiet:
        print(f"# {_shown(page)}: {ran} blocks ran")
    return 0


if __name__ == "__main__":
    sys.exit(main())
