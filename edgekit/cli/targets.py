"""``edgekit targets``: the kinds of machines that artifacts are made for."""

from __future__ import annotations

import click

from edgekit.cli import _options as shared


@click.command("targets", short_help="Show the kinds of machines that artifacts are made for.")
@click.argument("name", required=False)
@shared.json_option
@shared.talk_options
def command(
    name: str | None,
    as_json: bool,
    verbose: bool,  # noqa: ARG001 - read by the error door
    quiet: bool,  # noqa: ARG001 - there is no talk
) -> None:
    """List all targets; with NAME, show what is known of that one, and from where."""
    from edgekit.reports import targets as report
    from edgekit.target import load_target, targets

    found = [load_target(name)] if name else [load_target(path) for path in targets().values()]
    if as_json:
        data = [target.to_json() for target in found]
        shared.print_json(data[0] if name else data)
    elif name:
        report.show_one(found[0], shared.out())
    else:
        report.show(found, shared.out())
