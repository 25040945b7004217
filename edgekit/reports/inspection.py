"""What `edgekit inspect` shows."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgekit.inspection import Inspection
from edgekit.reports import size
from edgekit.tensors import TensorSpec

_SHOWN = 12  # operators, unless all are asked for


def show(found: Inspection, console: Console, *, all_operators: bool) -> None:
    """Print one model file as a list of facts."""
    console.print(f"[bold]{escape(str(found.path))}[/]")
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _facts(found, all_operators=all_operators):
        table.add_row(name, escape(value))
    console.print(table)


def _facts(found: Inspection, *, all_operators: bool) -> list[tuple[str, str]]:
    facts = [
        ("format", found.format),
        ("size", f"{size(found.size_bytes)} ({found.size_bytes} bytes)"),
        ("sha256", found.sha256),
    ]
    facts += [("input", _tensor(spec)) for spec in found.signature.inputs]
    facts += [("output", _tensor(spec)) for spec in found.signature.outputs]
    facts.append(("operators", _operators(found.ops, None if all_operators else _SHOWN)))
    weights = ", ".join(f"{size(count)} {name}" for name, count in found.parameter_bytes.items())
    facts.append(("weights", weights or "none"))
    facts += list(found.details.items())
    facts += [(key, _one_line(value)) for key, value in found.metadata.items()]
    facts += _provenance(found)
    facts += [("note", note) for note in found.notes]
    return facts


def _tensor(spec: TensorSpec) -> str:
    source = [spec.source_dtype.value] if spec.source_dtype else []
    source += [str(list(spec.source_shape))] if spec.source_shape is not None else []
    was = f" (the source has {' '.join(source)})" if source else ""
    return f"{spec}{f', {spec.layout}' if spec.layout else ''}{was}"


def _operators(ops: dict[str, int], limit: int | None) -> str:
    shown = [f"{count} {name}" for name, count in list(ops.items())[:limit]]
    rest = len(ops) - len(shown)
    total = sum(ops.values())
    return f"{total} in all: {', '.join(shown)}{f', {rest} more kinds (-v)' if rest else ''}"


def _one_line(text: str, limit: int = 120) -> str:
    line = ", ".join(part.strip() for part in text.splitlines() if part.strip())
    return line if len(line) <= limit else line[:limit] + "..."


def _provenance(found: Inspection) -> list[tuple[str, str]]:
    record = found.provenance
    if record is None:
        return []
    verdict = record.get("verification") or {}
    facts = [
        ("made from", f"{record.get('origin')} (program {str(record.get('program_sha256'))[:12]})"),
        ("recipe", str(record.get("recipe"))),
        ("made with", ", ".join(f"{k} {v}" for k, v in (record.get("toolchain") or {}).items())),
    ]
    if verdict:
        said = str(verdict.get("status")).replace("_", " ")
        where = f" in {verdict['runtime']}" if verdict.get("runtime") else ""
        why = f": {verdict['reason']}" if verdict.get("reason") else ""
        facts.append(("verification", said + where + why))
    return facts
