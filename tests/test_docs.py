"""The pages tell the truth: blocks run, links lead somewhere, and nothing is left out."""

import dataclasses
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from edgekit import cli
from edgekit.artifact import Artifact
from edgekit.conversion import FormatResult
from edgekit.recipe import recipes
from edgekit.verification import OutputCheck, Verification

ROOT = Path(__file__).resolve().parents[1]
RUNNER = ROOT / "scripts" / "run_blocks.py"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUN = [
    page for page in PAGES if re.search(r"^ *```(sh|bash|python)$", page.read_text(), re.MULTILINE)
]
# Run with every change; the other pages are slow, and most of their commands have suites too.
QUICK = {"README.md", "docs/how-to/read-an-artifact.md"}
LANGUAGES = {"sh", "bash", "python", "text", "json", "yaml", "toml"}


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """Return a page without its blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def section(title: str) -> str:
    """Return one section of the README."""
    pattern = re.compile(rf"^## {title}\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    found = pattern.search((ROOT / "README.md").read_text())
    assert found, title
    return found[1]


# -- Blocks ----------------------------------------------------------------------------------------


def run_blocks(page: Path, *flags: str, env: dict[str, str] | None = None):
    command = [sys.executable, str(RUNNER), *flags, str(page)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_block_says_its_language(page: Path) -> None:
    fences = re.findall(r"^ *```(.*)$", page.read_text(), re.MULTILINE)
    assert set(fences[::2]) <= LANGUAGES
    assert set(fences[1::2]) <= {""}


# -- The runner itself -----------------------------------------------------------------------------

PAGE = """
```sh
mkdir sub && cd sub
export WORD='two words'
```
<!-- file: saved.py -->
```python
VALUE = 3
```
```python
import os
from saved import VALUE
print("python sees", os.environ["WORD"], VALUE, os.path.basename(os.getcwd()))
```
<!-- not run: nothing to gain -->
```sh
echo never
```
<!-- exit: 3 -->
```sh
test -e ../sample_models/keyword_spotter.py
exit 3
```
```text
not code
```
```python
VALUE += 1
print("kept", VALUE)
```
"""


def test_runner_keeps_folder_environment_and_names(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    done = run_blocks(page)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "$ mkdir sub && cd sub\n" in done.stdout
    assert "python sees two words 3 sub\n" in done.stdout
    assert "is not run: nothing to gain" in done.stdout
    assert "never\n" not in done.stdout.replace("echo never", "")
    assert "kept 4\n" in done.stdout
    assert run_blocks(page, "--quiet").stdout == ""
    assert sorted(tmp_path.iterdir()) == [page]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```sh\ntrue\n\nfalse\n```\n", ":4: exit code 1"),
        ("```sh\ncat <<END\nx\n```\n", ":2: this command is not complete"),
        ("```sh\necho $NOT_SET\n```\n", ":2: exit code 1"),
        ("```sh\nfalse | true\n```\n", ":2: exit code 1"),
        ("<!-- exit: 3 -->\n```sh\ntrue\n```\n", ":3: exit code 0 at line 3, not 3"),
        ("<!-- exit: 1 -->\n```sh\nfalse\ntrue\n```\n", ":3: exit code 1 at line 4, not 1"),
        ("```python\nx = 1\n1 / 0\n```\n", ":2: exit code 1, not 0"),
        ("```python\nraise SystemExit(2)\n```\n", ":2: exit code 2, not 0"),
        ("<!-- not run -->\n```sh\ntrue\n```\n", ":1: write <!-- not run: the reason -->"),
        ("<!-- exit: many -->\n```sh\ntrue\n```\n", ":1: write <!-- exit: a number -->"),
        ("```sh\ntrue\n", ":1: this block is never closed"),
    ],
)
def test_runner_stops_at_the_first_failure(tmp_path: Path, text: str, said: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text + "\n```sh\necho went on\n```\n" * text.endswith("```\n"))
    done = run_blocks(page)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"FAILED {page}{said}"
    assert "went on\n" not in done.stdout
    assert ("ZeroDivisionError" in done.stdout) == ("1 / 0" in text)


def test_runner_runs_several_pages_and_fails_with_any(tmp_path: Path) -> None:
    pages = [tmp_path / name for name in ("a.md", "b.md", "c.md")]
    for page, command in zip(pages, ("true", "false", "echo third"), strict=True):
        page.write_text(f"```sh\n{command}\n```\n")
    done = run_blocks(pages[0], str(pages[1]))
    assert done.returncode == 1
    assert f"FAILED {pages[1]}" in done.stderr


# -- Links -----------------------------------------------------------------------------------------


def links() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
            if not re.match(r"[a-z]+:", target):
                yield page, target


@pytest.mark.parametrize(("page", "target"), list(links()), ids=lambda each: Path(each).name)
def test_links_lead_somewhere(page: Path, target: str) -> None:
    path, _, anchor = target.partition("#")
    aim = (page.parent / path).resolve() if path else page
    assert aim.exists()
    assert aim.is_relative_to(ROOT)
    assert not anchor or anchor in anchors(aim)


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        aims = [
            (page.parent / target.partition("#")[0]).resolve()
            for at, target in links()
            if at == page
        ]
        waiting += [aim for aim in aims if aim.suffix == ".md"]
    assert set(PAGES) - reached <= {ROOT / "CHANGELOG.md"}


# -- Files, commands, options, fields --------------------------------------------------------------


@pytest.mark.parametrize("title", ["Code map", "Add a …"])
def test_readme_tables_name_only_what_exists(title: str) -> None:
    names = re.findall(r"`((?:edgekit|scripts|tests|sample_models)/[^`\s]*)`", section(title))
    assert len(names) > 8
    for name in names:
        pattern = re.sub(r"<\w+>", "*", name).rstrip("/")
        assert list(ROOT.glob(pattern)), name


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_files_named_in_prose_exist(page: Path) -> None:
    for name in re.findall(r"`((?:edgekit|scripts|tests|docs)/[\w/.]+)`", prose(page)):
        assert (ROOT / name).exists(), name


def commands() -> dict[str, click.Command]:
    context = click.Context(cli.cli)
    found = {name: cli.cli.get_command(context, name) for name in cli.cli.list_commands(context)}
    return {name: command for name, command in found.items() if command is not None}


@pytest.mark.parametrize("name", list(commands()))
def test_every_command_and_option_is_documented(name: str) -> None:
    pages = "\n".join(page.read_text() for page in PAGES)
    assert f"edgekit {name}" in pages
    options = [each for each in commands()[name].params if isinstance(each, click.Option)]
    for option in options:
        longest = max(option.opts, key=len)
        assert re.search(rf"(?<![\w-]){re.escape(longest)}(?![\w-])", pages), longest


def test_every_sidecar_field_is_documented() -> None:
    page = (ROOT / "docs/how-to/read-an-artifact.md").read_text()
    fields = {
        field.name
        for cls in (Artifact, Verification, OutputCheck)
        for field in dataclasses.fields(cls)
    }
    fields |= {"schema_version", "file", "layout", "source_dtype", "source_shape"}
    fields -= {"path"}  # files move: the sidecar has the name only
    assert [name for name in sorted(fields) if f"`{name}`" not in page] == []


def test_every_result_field_is_documented() -> None:
    page = (ROOT / "docs/how-to/use-from-python.md").read_text()
    names = [field.name for field in dataclasses.fields(FormatResult)]
    assert [name for name in names if f"`{name}`" not in page] == []


@pytest.mark.parametrize("name", list(recipes()))
def test_recipes_are_documented_with_their_tolerances(name: str) -> None:
    page = (ROOT / "docs/recipes.md").read_text()
    recipe = recipes()[name]
    assert f"| `{name}` | {', '.join(f'`{alias}`' for alias in recipe.aliases)} |" in page
    bounds = {f"`{name}`": recipe.tolerance}
    if recipe.source_tolerance is not None:
        bounds[f"`{name}` in `edgekit verify`"] = recipe.source_tolerance
    for title, tolerance in bounds.items():
        (row,) = re.findall(rf"^\| {re.escape(title)} \| (.*dB.*) \|$", page, re.MULTILINE)
        told = [float(re.sub(r"[^\d.e-]", "", cell)) for cell in row.split(" | ")]
        assert told == pytest.approx(
            [
                tolerance.sqnr_db,
                tolerance.cosine,
                tolerance.max_abs_of_peak,
                tolerance.integer_agreement * 100,
            ]
        )


# -- Pages as a whole ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(p, marks=() if named(p) in QUICK else pytest.mark.slow, id=named(p))
        for p in RUN
    ],
)
def test_blocks_of_a_page_run(page: Path) -> None:
    done = run_blocks(page, env={**os.environ, "NO_COLOR": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
