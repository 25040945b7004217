"""``edgekit inspect``: what a model file holds, whoever made it."""

from __future__ import annotations

import click

from edgekit.cli import _options as shared


@click.command("inspect", short_help="Show what a model file holds.")
@click.argument("paths", nargs=-1, required=True)
@shared.json_option
@shared.talk_options
def command(paths: tuple[str, ...], as_json: bool, verbose: bool, quiet: bool) -> None:  # noqa: ARG001
    """Show signature, operators, weights, metadata and provenance of model files."""
    from pathlib import Path

    from edgekit.inspection import inspect
    from edgekit.reports import inspection as report

    found = [inspect(Path(path)) for path in paths]
    if as_json:
        data = [each.to_json() for each in found]
        shared.print_json(data[0] if len(data) == 1 else data)
        return
    for each in found:
        report.show(each, shared.out(), all_operators=verbose)
