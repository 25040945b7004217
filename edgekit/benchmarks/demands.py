"""What a user demands of where nodes run: ``--require npu``."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.benchmarks.record import BenchmarkRecord
from edgekit.errors import VerdictError
from edgekit.text import printable


def require_accelerated(records: Sequence[BenchmarkRecord]) -> None:
    """Check that every node ran on the accelerator that the run asked for.

    Raises:
        VerdictError: a node fell back, none was asked for, or nobody told where nodes run.
    """
    for record in records:
        nodes = (record.placement or {}).get("nodes")
        name = printable(record.path.name)
        if nodes is None:
            why = (record.placement or {}).get("not_run", "the runner did not tell")
            raise VerdictError(f"{name}: it is not known where nodes ran: {printable(str(why))}.")
        if record.estimate is None and not _asks_for_one(record):
            raise VerdictError(
                f"{name} ran on the CPU: no delegate and no execution provider was asked for.",
                "Name one with --delegate or --provider, or a --target that has one.",
            )
        back = [node for node in nodes if "reason" in node]
        if back:
            raise VerdictError(
                f"{len(back)} of {len(nodes)} nodes of {name} fell back to the CPU, first "
                f"{printable(str(back[0].get('op')))} ({printable(str(back[0]['reason']))}).",
                "The record's placement lists all of them.",
            )


def _asks_for_one(record: BenchmarkRecord) -> bool:
    delegate, providers = record.job.get("delegate"), record.job.get("providers") or ()
    return delegate not in (None, "none") or any(
        each != "CPUExecutionProvider" for each in providers
    )
