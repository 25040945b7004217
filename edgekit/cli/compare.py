"""``edgekit compare``: is the second one faster, slower or the same?"""

from __future__ import annotations

from pathlib import Path

import click

from edgekit.cli import _options as shared


@click.command("compare", short_help="Say which of two benchmarks is faster, and how sure that is.")
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@click.option("--interleave", is_flag=True, help="Measure both afresh, in turns: best evidence.")
@click.option("--rounds", default=40, show_default=True, type=click.IntRange(10), help="Of turns.")
@click.option("--turn", metavar="TIME", default="10ms", show_default=True, help="Of one turn.")
@click.option(
    "--margin", type=click.FloatRange(0, 100), help="Percent that count as none [default: 2, or 5]."
)
@click.option(
    "--threads", default=1, show_default=True, type=click.IntRange(1, 256), help="Threads."
)
@click.option("--runtime", help="Runtime to use (default: the best one here).")
@click.option("--device", help="With --interleave: device to measure on.")
@click.option("--provision", is_flag=True, help="Bring the runtimes along to the device.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FOLDER", help="Keep both records."
)
@click.option("--fail-if-slower", is_flag=True, help="Exit with 3 when the second is slower.")
@shared.json_option
@shared.talk_options
def command(
    first: Path,
    second: Path,
    interleave: bool,
    rounds: int,
    turn: str,
    margin: float | None,
    threads: int,
    runtime: str | None,
    device: str | None,
    provision: bool,
    output: Path | None,
    fail_if_slower: bool,
    as_json: bool,
    verbose: bool,  # noqa: ARG001 - read by the error door
    quiet: bool,
) -> None:
    """Compare SECOND with FIRST: two records, or with --interleave two model files."""
    from edgekit.api import compare
    from edgekit.benchmarks.scenarios import duration
    from edgekit.errors import VerdictError
    from edgekit.reports import comparison as report

    found = compare(
        first,
        second,
        interleave=interleave,
        rounds=rounds,
        turn_seconds=duration(turn),
        margin=None if margin is None else margin / 100,
        threads=threads,
        runtime=runtime,
        device=device,
        provision=provision,
        output=output,
    )
    if as_json:
        shared.print_json(found.to_json())
    else:
        report.show(found, shared.out())
        report.explain(found, shared.err(quiet=quiet))
    if fail_if_slower and found.verdict == "slower":
        raise VerdictError(f"{second} is slower than {first}: {found.reason}.")
