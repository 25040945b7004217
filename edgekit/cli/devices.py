"""``edgekit devices``: the devices of edgekit.toml, and what they answer."""

from __future__ import annotations

import click

from edgekit.cli import _options as shared


@click.command("devices", short_help="List the devices of edgekit.toml, and what they answer.")
@click.argument("names", nargs=-1)
@click.option("--no-probe", is_flag=True, help="List them only; connect to none.")
@shared.json_option
@shared.talk_options
def command(
    names: tuple[str, ...],
    no_probe: bool,
    as_json: bool,
    verbose: bool,  # noqa: ARG001 - read by the error door
    quiet: bool,
) -> None:
    """Connect to all devices, or to those of the NAMES, and show what they are."""
    from edgekit.devices import devices, load_device
    from edgekit.probing import Answer, probe
    from edgekit.reports import devices as report

    found = [load_device(name) for name in names] if names else list(devices().values())
    answers = [Answer(device) for device in found] if no_probe else probe(found)
    if as_json:
        shared.print_json([answer.to_json() for answer in answers])
    else:
        report.show(answers, shared.out())
        report.explain(answers, shared.err(quiet=quiet))
