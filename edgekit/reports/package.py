"""What `edgekit package` shows: a row for each package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgekit.packaging import Checked, Package
from edgekit.reports import size


def show(made: Sequence[Package], console: Console) -> None:
    """Print the packages that were made."""
    table = Table(box=None, pad_edge=False)
    for title in ("flavour", "artifact", "size", "sha256", "package"):
        table.add_column(title, justify="right" if title == "size" else "left", overflow="fold")
    for each in made:
        table.add_row(
            each.flavour,
            escape(", ".join(path.name for path in each.artifacts)),
            size(each.size_bytes),
            each.sha256[:12],
            escape(str(each.path)),
        )
    console.print(table)


def explain(made: Sequence[Package], console: Console) -> None:
    """Say what the reader of a package must know."""
    for each in made:
        for note in each.notes:
            console.print(f"{each.path.name}: {note}", markup=False, soft_wrap=True)


def show_checked(checked: Mapping[str, Checked], console: Console) -> None:
    """Print the packages that are as edgekit made them; one that is not never gets here."""
    table = Table(box=None, pad_edge=False)
    for title in ("package", "flavour", "model", "recipe", "verification", "signed by"):
        table.add_column(title, overflow="fold")
    for path, each in checked.items():
        card, variants = each.manifest["card"], each.manifest["variants"]
        reasons = "; ".join(v["unverified"] for v in variants if v["unverified"])
        table.add_row(
            escape(path),
            each.manifest["flavour"],
            escape(f"{card['name']} {card['version']}"),
            escape(", ".join(variant["model"]["recipe"] for variant in variants)),
            escape(f"none: {reasons}" if reasons else "passed"),
            each.signed_by or "nobody",
        )
    console.print(table)
