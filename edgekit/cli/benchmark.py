"""``edgekit benchmark``: how long an inference takes, with every sample kept."""

from __future__ import annotations

import click

from edgekit.cli import _options as shared


@click.command("benchmark", short_help="Measure the latency of model files.")
@click.argument("artifacts", nargs=-1, required=True)
@click.option("--runs", default=50, show_default=True, type=click.IntRange(1), help="Timed runs.")
@click.option(
    "--threads", default=1, show_default=True, type=click.IntRange(1, 256), help="Threads."
)
@click.option("--runtime", help="Runtime to use (default: the best one here).")
@click.option("--target", default="local", show_default=True, help="Where to run.")
@shared.json_option
@shared.talk_options
def command(
    artifacts: tuple[str, ...],
    runs: int,
    threads: int,
    runtime: str | None,
    target: str,
    as_json: bool,
    verbose: bool,  # noqa: ARG001 - read by the error door
    quiet: bool,
) -> None:
    """Measure ARTIFACTS, one after another, on seeded random inputs."""
    from edgekit.api import benchmark
    from edgekit.reports import benchmarks as report

    records = [
        benchmark(path, target=target, runs=runs, runtime=runtime, threads=threads)
        for path in artifacts
    ]
    if as_json:
        data = [record.to_json() for record in records]
        shared.print_json(data[0] if len(data) == 1 else data)
        return
    report.show(records, shared.out())
    report.explain(records, shared.err(quiet=quiet))
