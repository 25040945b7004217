"""Where processing is declared: beside the model, or in the file that builds it.

``edgekit.toml`` has the sections as TOML.  A Python source may instead hold them as two mappings::

    PREPROCESS = {"image": {"kind": "image", "resize": "stretch", "size": 224, "divide_by": 255}}
    POSTPROCESS = {"animal": {"kind": "classes", "output": "logits", "top_k": 3}}

These are read, not run: literals, and names of literals in the same file.  ``LABELS``, if it is
such a literal, names the classes of every step that declares no labels.
"""

from __future__ import annotations

import ast
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.errors import UsageError
from edgekit.processing.schema import SECTIONS, Processing, read

FILE_NAME = "edgekit.toml"


def find(origin: str) -> Processing:
    """Return what is declared for a source string; no steps where nothing is declared.

    Raises:
        UsageError: the declaration is not right, or the source is a file that is not here.
    """
    place, cut, _ = origin.partition(".py:")
    source = Path(place + ".py" if cut else place)
    is_file = source.suffix in {".py", ".pt2"} and not origin.startswith("memory:")
    if is_file and not source.is_file():
        raise UsageError(
            f"The source {source} is not here, and it may declare processing.",
            "Package where it was converted, or name the declaration with --processing.",
        )
    found = load(source) if source.suffix == ".py" and is_file else Processing()
    beside = (source if source.is_dir() else source.parent) / FILE_NAME
    if not found.where and beside.is_file():
        return replace(load(beside), labels=found.labels)
    return found


def load(path: Path) -> Processing:
    """Read a declaration in TOML, or in a Python file.

    Raises:
        UsageError: it is missing, or not right.
    """
    if not path.is_file():
        raise UsageError(f"There is no file {path}.", "Check the path of the processing.")
    if path.suffix == ".py":
        return _of_source(path)
    try:
        declared = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}.") from None
    return read(declared, path.parent, str(path))


def _of_source(path: Path) -> Processing:
    names = _assignments(path)
    declared = {
        section: _literal(names[section.upper()], names, f"{path}: {section.upper()}")
        for section in SECTIONS
        if section.upper() in names
    }
    found = read(declared, path.parent, str(path)) if declared else Processing()
    return replace(found, labels=_labels(names))


def _assignments(source: Path) -> dict[str, ast.expr]:
    """Return what a Python file assigns to names at its top level, without running it."""
    try:
        tree = ast.parse(source.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise UsageError(f"{source} is not Python: {error}.") from None
    return {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _labels(names: dict[str, ast.expr]) -> tuple[str, ...]:
    """Return the literal ``LABELS``; none where it is computed, or no list of names."""
    if "LABELS" not in names:
        return ()
    try:
        labels = _literal(names["LABELS"], names, "LABELS")
    except UsageError:
        return ()
    labels = list(labels.values()) if isinstance(labels, dict) else labels
    return tuple(map(str, labels)) if isinstance(labels, (list, tuple)) else ()


def _literal(value: ast.expr, names: dict[str, ast.expr], where: str) -> Any:
    try:
        return ast.literal_eval(_Substituted(names).visit(value))
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise UsageError(
            f"{where} is computed, and edgekit reads it without running the file.",
            f"Write it with literals, or declare it in {FILE_NAME} beside the model.",
        ) from None


class _Substituted(ast.NodeTransformer):
    """Puts the literals that names stand for in their place."""

    def __init__(self, names: dict[str, ast.expr]) -> None:
        self._names = names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """Return what the name was given in the file, names in it replaced as well."""
        found = self._names.get(node.id)
        return node if found is None else self.visit(found)

    def visit_Tuple(self, node: ast.Tuple) -> ast.Tuple:
        """Return the tuple with ``*(...)`` in it laid out."""
        items = [
            self.visit(item.value if isinstance(item, ast.Starred) else item) for item in node.elts
        ]
        flat = [
            part
            for item, given in zip(items, node.elts, strict=True)
            for part in (item.elts if isinstance(given, ast.Starred) else [item])
        ]
        return ast.Tuple(flat, ast.Load())
