"""``edgekit convert``: a source in, verified artifacts out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from edgekit import registry
from edgekit.cli import _options as shared
from edgekit.plan import ALL_FORMATS, TIMEOUT


def _format_options(function: Any) -> Any:
    """Add each format's own options: a format's module is the only place that names them."""
    for name, module in reversed(registry.load_all("formats").items()):
        for option in reversed(module.OPTIONS):
            kind = type(option.choices[0]) if option.choices else str
            function = click.option(
                f"--{option.name}",
                type=kind,
                metavar="|".join(map(str, option.choices)),
                help=f"[{name}] {option.help}",
            )(function)
    return function


def _sizes(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[int, ...]:
    """Read numbers with commas between them."""
    try:
        return tuple(int(each) for each in (value or "").split(",") if each.strip())
    except ValueError:
        raise click.BadParameter(f"{value!r} is no list of sizes; write e.g. 64,128,256.") from None


@click.command("convert", short_help="Convert a model to verified artifacts.")
@click.argument("source")
@click.option(
    "--to", "formats", multiple=True, metavar="FORMATS", help="onnx,tflite,coreml (default: all)."
)
@click.option("-o", "--output", default="out", show_default=True, help="Folder for the artifacts.")
@click.option("--recipe", default="fp32", show_default=True, help="Precision recipe.")
@click.option(
    "--calibrate",
    metavar="DATA",
    help="Data for recipes that need it: .npz, folder of arrays or pictures, file.py:callable, "
    "or random.",
)
@click.option(
    "--buckets",
    callback=_sizes,
    metavar="SIZES",
    help="Only sizes that the ranges in --input take, e.g. 64,128,256.",
)
@click.option("--name", help="Stem of the file names (default: the source's name).")
@shared.source_options
@_format_options
@click.option("--description", help="Description to write into the artifacts.")
@click.option("--author", help="Author to write into the artifacts.")
@click.option("--model-version", help="Version to write into the artifacts.")
@click.option("--license", "license_", help="Licence to write into the artifacts.")
@click.option("--labels", type=click.File(), help="File with one class label a line.")
@click.option("--jobs", type=click.IntRange(1), help="Processes at once (default: one per core).")
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=TIMEOUT,
    show_default=True,
    help="Seconds a process.",
)
@click.option("--no-cache", is_flag=True, help="Neither read nor write the cache.")
@click.option("--require-verified", is_flag=True, help="Fail when an artifact could not be run.")
@click.option(
    "--bisect", is_flag=True, help="Find the smallest part on which a format fails, and keep it."
)
@click.option(
    "--bake-preprocessing",
    is_flag=True,
    help="Let pictures go in as pixels: bake their declared arithmetic into the model.",
)
@click.option(
    "--accuracy-budget",
    metavar="SHARE",
    help="The most that a static recipe may lose, e.g. 1%: what costs too much stays in float.",
)
@click.option(
    "--fast-here",
    is_flag=True,
    help="Time kinds of layers on this machine: what 8 bits make slower computes in float.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
@shared.json_option
@shared.talk_options
def command(formats: tuple[str, ...], as_json: bool, quiet: bool, **given: Any) -> None:
    """Convert SOURCE to artifacts, run each one and compare it with the model.

    SOURCE is file.py, file.py:callable, package.module:callable, a .pt2 file, or a Hugging Face
    model folder.  Exit code 0: every artifact is right; 1: a conversion failed; 3: one is wrong.
    """
    from edgekit.cli._progress import shown
    from edgekit.conversion import run
    from edgekit.plan import plan
    from edgekit.reports import conversion as report
    from edgekit.verification import PASSED

    resolved = plan(
        given["source"],
        formats=[each for group in formats or ALL_FORMATS for each in group.split(",") if each],
        recipe=given["recipe"],
        calibration=given["calibrate"],
        output_dir=given["output"],
        name=given["name"],
        jobs=given["jobs"],
        weights=given["weights"],
        inputs=given["inputs"],
        buckets=given["buckets"],
        input_data=given["input_data"],
        options=_chosen_options(given),
        metadata=_metadata(given),
        timeout=given["timeout"],
        use_cache=not given["no_cache"],
        bisect=given["bisect"],
        bake_preprocessing=given["bake_preprocessing"],
        accuracy_budget=given["accuracy_budget"],
        fast_here=given["fast_here"],
    )
    if given["dry_run"]:
        shared.print_json(resolved.to_json())
        return
    with shown(quiet=quiet) as progress:
        result = run(resolved, progress)
    if as_json:
        shared.print_json(result.to_json())
    else:
        report.show(result, shared.out())
    told = replace(result, results=tuple(r for r in result.results if r.status != PASSED))
    report.explain(told if quiet else result, shared.err(), verbose=given["verbose"])
    code = report.exit_code(result, require_verified=given["require_verified"])
    raise click.exceptions.Exit(code)


def _chosen_options(given: dict[str, Any]) -> dict[str, Any]:
    names = {
        option.name for module in registry.load_all("formats").values() for option in module.OPTIONS
    }
    return {name: given[name] for name in names if given.get(name) is not None}


def _metadata(given: dict[str, Any]) -> dict[str, Any]:
    labels = given["labels"].read().splitlines() if given["labels"] else []
    return {
        "description": given["description"],
        "author": given["author"],
        "version": given["model_version"],
        "license": given["license_"],
        "labels": [label for label in labels if label.strip()],
    }
