"""``edgekit benchmark``: how long an inference takes, with every sample kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgekit.cli import _options as shared

_OUTPUT = "Write the record there; with several, a folder of records."


@click.command("benchmark", short_help="Measure the latency of model files.")
@click.argument("artifacts", nargs=-1, required=True)
@click.option("--runs", type=click.IntRange(1), help="Samples to take, at least [default: 50].")
@click.option("--min-time", metavar="TIME", help="Measure at least so long [default: 1s].")
@click.option("--warmup", metavar="TIME", default="3s", show_default=True, help="At most; 0: none.")
@click.option("--threads", help="Threads; 1,2,4 tries each [default: 1, or the target's].")
@click.option("--runtime", help="Runtime to use (default: the best one here).")
@click.option("--target", default="local", show_default=True, help="Kind of machine to run on.")
@click.option("--device", help="Device of edgekit.toml, user@host, adb:serial, or local.")
@click.option("--require", type=click.Choice(["npu"]), help="Fail if a node is not on the NPU.")
@click.option("--provision", is_flag=True, help="Bring the runtime along to the device.")
@click.option("--tool", metavar="NAME[=PATH]", help="Drive a vendor's tool: benchmark_model, ...")
@click.option("--resume", is_flag=True, help="Go on with a run on a device that was cut off.")
@click.option(
    "--scenario",
    metavar="NAME[:KEY=VALUE,...]",
    default="single-stream",
    show_default=True,
    help="single-stream, multi-stream, offline, server or streaming.",
)
@click.option("--sustained", metavar="TIME", help="Go on for so long, to see what heat does.")
@click.option("--cold", type=click.IntRange(1), help="Measure so many cold starts as well.")
@click.option("--profile", type=click.IntRange(1), help="Profile so many inferences by node.")
@click.option("--delegate", metavar="FILE", help="TFLite: a delegate's library, or none.")
@click.option("--provider", "providers", multiple=True, help="ONNX Runtime: repeatable.")
@click.option("--input-data", metavar="FILE", help="Values of the inputs: an .npz file.")
@click.option("-o", "--output", metavar="PATH", type=click.Path(path_type=Path), help=_OUTPUT)
@shared.json_option
@shared.talk_options
def command(
    artifacts: tuple[str, ...],
    threads: str | None,
    output: Path | None,
    require: str | None,
    as_json: bool,
    verbose: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Measure ARTIFACTS, one after another, on seeded inputs or --input-data."""
    from edgekit.api import benchmark
    from edgekit.benchmarks.demands import require_accelerated
    from edgekit.reports import benchmarks as report

    counts = shared.counts(threads, "--threads") if threads else (None,)
    asked = _asked(**given)
    several = len(artifacts) * len(counts) > 1
    records = [
        benchmark(path, threads=count, output=_file(output, path, count, several=several), **asked)
        for path in artifacts
        for count in counts
    ]
    if as_json:
        data = [record.to_json() for record in records]
        shared.print_json(data[0] if len(data) == 1 else data)
    else:
        report.show(records, shared.out())
        report.explain(records, shared.err(quiet=quiet), verbose=verbose)
    if require:
        require_accelerated(records)


def _asked(
    runs: int | None, min_time: str | None, warmup: str, sustained: str | None, **others: Any
) -> dict[str, Any]:
    """Return the options as `edgekit.benchmark` takes them; --runs alone means just so many."""
    from edgekit.benchmarks.scenarios import duration

    shortest = min_time or ("0" if runs else "1s")
    return {
        **others,
        "runs": runs or 50,
        "min_seconds": duration(shortest),
        "warmup_seconds": duration(warmup),
        "sustained": duration(sustained) if sustained else None,
        "profile": others["profile"] or 0,
    }


def _file(output: Path | None, path: str, threads: int | None, *, several: bool) -> Path | None:
    """Return the file of one record."""
    if output is None or not several:
        return output
    return output / f"{Path(path).name}{f'-{threads}t' if threads else ''}.json"
