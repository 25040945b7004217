"""``edgekit package``: verified artifacts in, dependencies of apps out."""

from __future__ import annotations

import re
from typing import Any

import click

from edgekit.cli import _options as shared

_UNITS = {"": 1, "b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3}


def _bytes(_context: click.Context, _option: click.Parameter, value: str | None) -> int | None:
    """Read a size: ``5MB``, ``300 kB`` or a number of bytes."""
    found = re.fullmatch(r"([\d.]+)\s*([kmg]?b?)", (value or "0").strip().lower())
    if found is None or found[2] not in _UNITS or found[1].count(".") > 1:
        raise click.BadParameter(f"{value!r} is no size; write e.g. 5MB.")
    return None if value is None else int(float(found[1]) * _UNITS[found[2]])


def _socs(
    _context: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> dict[str, list[str]]:
    """Read variants with their chips: ``int8=SM8650,SM8750``."""
    found = {}
    for value in values:
        name, equals, chips = value.partition("=")
        if not (name and equals and chips):
            raise click.BadParameter(f"{value!r} is no variant with its chips: int8=SM8650.")
        found[name] = chips.split(",")
    return found


@click.command("package", short_help="Make dependencies for apps of verified artifacts.")
@click.argument("paths", nargs=-1, required=True, metavar="ARTIFACT...")
@click.option(
    "--for", "flavours", multiple=True, metavar="FLAVOURS", help="linux,... (default: all)."
)
@click.option("-o", "--output", default="dist", show_default=True, help="Folder for the packages.")
@click.option("--name", help="Name of the packages (default: the artifact's).")
@click.option("--model-version", help="Version (default: the artifact's, or 0.1.0).")
@click.option("--author", help="Author of the model (default: the artifact's).")
@click.option("--license", "license_", help="Licence of the model (default: the artifact's).")
@click.option("--processing", metavar="FILE", help="TOML file with [preprocess] and [postprocess].")
@click.option("--allow-unverified", is_flag=True, help="Package what did not pass; record it.")
@click.option("--variants", is_flag=True, help="Artifacts of a flavour into one package.")
@click.option(
    "--soc",
    "socs",
    multiple=True,
    callback=_socs,
    metavar="VARIANT=NAMES",
    help="Choose a variant on these systems on a chip.",
)
@click.option(
    "--benchmark",
    "benchmarks",
    multiple=True,
    metavar="FILE",
    help="Records of edgekit benchmark --json for the manifest.",
)
@click.option("--max-size", callback=_bytes, metavar="SIZE", help="Fail above this, e.g. 5MB.")
@click.option("--sign", metavar="KEY", help="Sign with a private Ed25519 key in PEM.")
@click.option(
    "--signed-by", metavar="KEY", help="With --check: the public key that must have signed."
)
@click.option("--check", "check_only", is_flag=True, help="Check packages instead of making them.")
@shared.json_option
@shared.talk_options
def command(
    paths: tuple[str, ...], flavours: tuple[str, ...], check_only: bool, as_json: bool, **given: Any
) -> None:
    """Make packages of ARTIFACTs, or with --check say whether packages are as edgekit made them.

    Exit code 0: done; 1: a package is not what it should be; 3: the gate or the budget says no.
    """
    from edgekit import packaging
    from edgekit.reports import package as report

    if check_only:
        checked = {path: packaging.check(path, given["signed_by"]) for path in paths}
        if as_json:
            packages = {path: vars(each) for path, each in checked.items()}
            shared.print_json({"schema_version": packaging.SCHEMA_VERSION, "packages": packages})
        else:
            report.show_checked(checked, shared.out())
        return
    if given["signed_by"]:
        raise click.UsageError("--signed-by is a question; ask it with --check.")
    made = packaging.package(
        paths,
        [each for group in flavours for each in group.split(",") if each],
        given["output"],
        name=given["name"],
        version=given["model_version"],
        author=given["author"],
        license=given["license_"],
        processing=given["processing"],
        allow_unverified=given["allow_unverified"],
        max_bytes=given["max_size"],
        key=given["sign"],
        variants=given["variants"],
        socs=given["socs"],
        benchmarks=given["benchmarks"],
    )
    if as_json:
        listing = [each.to_json() for each in made]
        shared.print_json({"schema_version": packaging.SCHEMA_VERSION, "packages": listing})
    else:
        report.show(made, shared.out())
    report.explain(made, shared.err(quiet=given["quiet"]))
