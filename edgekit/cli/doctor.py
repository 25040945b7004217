"""``edgekit doctor``: what works here, and how to get the rest."""

from __future__ import annotations

import click

from edgekit.cli import _options as shared


@click.command("doctor", short_help="Say what works on this machine, and how to get the rest.")
@shared.json_option
@shared.talk_options
def command(as_json: bool, verbose: bool, quiet: bool) -> None:  # noqa: ARG001
    """Say which formats and runtimes work here, in which versions, and how to get the others."""
    from edgekit.diagnosis import diagnose
    from edgekit.reports import diagnosis as report

    found = diagnose()
    if as_json:
        shared.print_json(found.to_json())
    else:
        report.show(found, shared.out())
