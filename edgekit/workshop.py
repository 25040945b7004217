"""The workshop of one conversion: its folders, and the processes that work in them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit import cache, registry, worker
from edgekit.errors import EdgekitError, UsageError
from edgekit.plan import Plan
from edgekit.worker import Worker

Progress = Callable[[str, str], None]  # (format or "export", what it does now)


@dataclass(frozen=True)
class Workshop:
    """The folders and processes of one run.

    Attributes:
        plan: What is to be done.
        progress: Told (format or "export", what it does now).
        program: Folder of the exported program.
        temporary: Folder for the workers' temporary files.
        drafts: Folder beside the final files, so that delivering is a rename.
        workers: The running processes by what they do.
    """

    plan: Plan
    progress: Progress
    program: Path
    temporary: Path
    drafts: Path
    workers: dict[str, Worker] = field(default_factory=dict)


@contextmanager
def open_workshop(plan: Plan, progress: Progress) -> Iterator[Workshop]:
    """Make the folders of a run; at its end, however it ends, end its processes and remove them.

    Raises:
        UsageError: the output folder or the cache cannot be written.
    """
    work = drafts = None
    try:
        plan.output_dir.mkdir(parents=True, exist_ok=True)
        drafts = Path(tempfile.mkdtemp(dir=plan.output_dir, prefix=".edgekit-"))
        work = cache.working_folder()
        shop = Workshop(plan, progress, work / "program", work, drafts)
        try:
            yield shop
        finally:
            for each in shop.workers.values():
                worker.stop(each)
    except OSError as error:
        place = error.filename or plan.output_dir
        raise worker.full_disk(error) or UsageError(
            f"{place} cannot be written: {error.strerror}.",
            "Name a folder that can be, with --output.",
        ) from error
    finally:
        for folder in filter(None, (work, drafts)):
            shutil.rmtree(folder, ignore_errors=True)


def call(shop: Workshop, who: str, function: str, request: dict[str, Any]) -> worker.Outcome:
    """Call a function of `lowering` in the worker of that name, or here when not isolated."""
    name = f"edgekit.lowering:{function}"
    if not shop.plan.isolate:
        try:
            return worker.in_process(name, request)
        except EdgekitError:
            raise
        except Exception as error:
            raise worker.foreign(error, "Without isolation its log is your terminal.") from error
    crew = shop.workers
    if who not in crew:
        crew[who] = _start(shop, who)
    try:
        outcome = worker.call(
            crew[who],
            name,
            request,
            timeout=shop.plan.timeout,
            on_stage=lambda stage: shop.progress(who, stage),
        )
        worker.discard(crew[who])  # only what failed leaves a log
    finally:
        del crew[who]  # a worker takes one request
    return outcome


def _start(shop: Workshop, who: str) -> Worker:
    module = "edgekit.lowering" if who == "export" else registry.load("formats", who).__name__
    return worker.start(cache.log_file(who), warm_up=f"{module}:warm_up", temporary=shop.temporary)


def start_early(shop: Workshop, formats: list[str]) -> None:
    """Start the workers that will run beside the export, the longest first."""
    plan = shop.plan
    if not plan.isolate:
        return
    if isinstance(plan.source, str):
        shop.workers["export"] = _start(shop, "export")
    for name in longest_first(formats)[: plan.jobs - 1]:
        if registry.load("formats", name).unavailable() is None:
            shop.workers[name] = _start(shop, name)


def longest_first(formats: list[str]) -> list[str]:
    """Return the formats, that which takes longest first."""
    return sorted(formats, key=lambda name: -registry.load("formats", name).COST)
