"""``edgekit verify``: hold an artifact against its model again."""

from __future__ import annotations

from typing import Any

import click

from edgekit.cli import _options as shared


@click.command("verify", short_help="Compare an artifact with the model it was made from.")
@click.argument("artifact")
@click.argument("source", required=False)
@click.option("--recipe", help="Whose tolerance to use (default: the recipe that made it).")
@click.option("--runtime", help="Runtime to run it in (default: the best one here).")
@click.option("--layers", is_flag=True, help="Compare every layer; name the first wrong one.")
@click.option("--require-verified", is_flag=True, help="Fail when it could not be run.")
@shared.source_options
@shared.json_option
@shared.talk_options
def command(artifact: str, source: str | None, as_json: bool, **given: Any) -> None:
    """Run ARTIFACT and compare it with SOURCE, by default the source that its sidecar names.

    With --layers, also compare what each layer of SOURCE computes with the value in ARTIFACT that
    is the same, along the model's depth.  Exit code 0: it is right; 3: it is not.
    """
    from pathlib import Path

    from edgekit.artifact import open_artifact
    from edgekit.audit import audit
    from edgekit.reports import layers as layer_report
    from edgekit.reports import verification as report

    found = audit(
        artifact,
        source or open_artifact(Path(artifact)).origin,
        recipe=given["recipe"],
        runtime=given["runtime"],
        inputs=given["inputs"],
        weights=given["weights"],
        input_data=given["input_data"],
        layers=given["layers"],
    )
    verdict = found.verification
    if as_json:
        depth = {"layers": found.layers.to_json()} if found.layers else {}
        shared.print_json({"schema_version": 1, **verdict.to_json(), **depth})
    else:
        report.show(verdict, shared.out())
        if found.layers:
            layer_report.show(found.layers, shared.out())
    report.explain(verdict, shared.err(quiet=given["quiet"] and verdict.status == "passed"))
    raise click.exceptions.Exit(
        report.exit_code(verdict, require_verified=given["require_verified"])
    )
