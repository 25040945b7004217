"""Conversion: one source, several formats, each in a worker, each verified before it is delivered.

::

    source ─ export worker ─▶ program folder ─┬─ onnx worker   ─▶ draft ─ passed ─▶ out/m.onnx
                                              ├─ tflite worker ─▶ draft ─ failed ─▶ ….rejected
                                              └─ coreml worker ─▶ ...
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgekit import bisection, cache, clock, delivery, lowering, registry, worker
from edgekit.artifact import Artifact
from edgekit.bisection import Reproducer
from edgekit.errors import ConversionError, EdgekitError
from edgekit.fitting import fitted
from edgekit.plan import SCHEMA_VERSION, Plan, artifact_key, calibration_name, plan, source_key
from edgekit.quantize import calibration
from edgekit.quantize.fit.within import Fast, Within
from edgekit.recipe import Recipe, recipes
from edgekit.verification import FAILED, Verification
from edgekit.workshop import Progress, Workshop, call, longest_first, open_workshop, start_early

# Above this many bytes of weights formats convert one by one: each takes several times that.
_LARGE = 256 * 2**20

Description = dict[str, Any]  # what `Program.describe` returns


@dataclass(frozen=True)
class FormatResult:
    """What became of one format.

    Attributes:
        format: Its name.
        status: ``passed``, ``failed`` or ``not_run`` (converted, but nothing here executes it).
        artifact: The delivered artifact; None when there is none.
        verification: The verdict; None when the conversion itself failed.
        error: Why the conversion failed; None when it did not.
        seconds: Wall time of conversion and verification.
        peak_rss_bytes: Highest resident memory of its worker; 0 when it came from the cache.
        cached: Whether it came from the cache.
        rejected: Where an artifact that failed verification was put.
        reproducer: The smallest part that fails, where it was looked for and found.
        parts: Seconds of the passes and of the vendor's converter, by name.
    """

    format: str
    status: str
    artifact: Artifact | None = None
    verification: Verification | None = None
    error: EdgekitError | None = None
    seconds: float = 0.0
    peak_rss_bytes: int = 0
    cached: bool = False
    rejected: Path | None = None
    reproducer: Reproducer | None = None
    parts: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        made = self.artifact
        return {
            "format": self.format,
            "status": self.status,
            "path": str(made.path) if made else None,
            "rejected": str(self.rejected) if self.rejected else None,
            "artifact": made.to_json() if made else None,
            "verification": self.verification.to_json() if self.verification else None,
            "error": self.error.to_json() if self.error else None,
            "seconds": round(self.seconds, 3),
            "peak_rss_bytes": self.peak_rss_bytes,
            "cached": self.cached,
            "reproducer": self.reproducer.to_json() if self.reproducer else None,
            "parts": dict(self.parts),
        }


@dataclass(frozen=True)
class ConvertReport:
    """What became of one conversion to several formats.

    Attributes:
        results: One per format, in the order they were asked for.
        origin: The source string.
        recipe: Name of the recipe.
        program_sha256: Identity of the exported program.
        parameters: Number of weights.
        seconds: Wall time of everything.
        parts: Seconds of the passes that run once, before the formats part, by name.
        fitted: What an accuracy budget or ``--fast-here`` chose, and why; None without them.
    """

    results: tuple[FormatResult, ...]
    origin: str
    recipe: str
    program_sha256: str
    parameters: int
    seconds: float
    parts: Mapping[str, float] = field(default_factory=dict)
    fitted: Within | Fast | None = None

    @property
    def ok(self) -> bool:
        """Whether no format failed."""
        return all(result.status != FAILED for result in self.results)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "schema_version": SCHEMA_VERSION,
            **vars(self),
            "seconds": round(self.seconds, 3),
            "fitted": self.fitted.to_json() if self.fitted else None,
            "results": [result.to_json() for result in self.results],
            "parts": dict(self.parts),
        }


def convert(source: Any, *, progress: Progress | None = None, **arguments: Any) -> ConvertReport:
    """Convert a model to several formats, verify each artifact, deliver those that do not fail.

    Args:
        source: A source string (see `edgekit.loading`), an ``nn.Module`` or a `Program`.
        progress: Called with (format or "export", what it does now).
        **arguments: The arguments of `edgekit.plan.plan`, where each is described.

    Returns:
        One result per format.  A format that fails does not stop the others.

    Raises:
        UsageError: the arguments are not right.
        SourceError: the model cannot be loaded or called.
        ExportError: the model cannot be exported.
    """
    return run(plan(source, **arguments), progress or _no_progress)


def _no_progress(_who: str, _what: str) -> None: ...


def run(plan: Plan, progress: Progress = _no_progress) -> ConvertReport:
    """Carry out a plan; see `convert`."""
    started = time.monotonic()
    found = None
    if plan.accuracy_budget is not None or plan.fast_here:
        plan, found = fitted(plan, progress)
    with open_workshop(plan, progress) as shop:
        parts: Mapping[str, float] = {}
        program, done = _from_cache(shop)
        if program is None or len(done) < len(plan.formats):
            start_early(shop, [name for name in plan.formats if name not in done])
            program, parts = _export(shop)
            done = done or _finished(shop, program)
        todo = [name for name in plan.formats if name not in done]
        done |= _build_all(shop, program, todo)
        results = tuple(done[name] for name in plan.formats)
    return ConvertReport(
        results,
        program["origin"],
        plan.recipe.name,
        program["sha256"],
        program["parameters"],
        time.monotonic() - started,
        parts,
        found,
    )


# -- Exporting -------------------------------------------------------------------------------------


def _export(shop: Workshop) -> tuple[Description, Mapping[str, float]]:
    plan = shop.plan
    shop.progress("export", "exporting")
    if not isinstance(plan.source, str):
        program = lowering.save(
            plan.source,
            shop.program,
            inputs=plan.inputs,
            input_data=plan.input_data,
            metadata=plan.metadata,
            dynamic=plan.dynamic,
            recipe=plan.recipe,
            calibration=plan.calibration,
            bake=plan.bake,
        )
        return program, clock.taken()
    request = {
        "folder": str(shop.program),
        "source": plan.source,
        "weights": str(plan.weights) if plan.weights else None,
        "inputs": list(plan.inputs),
        "input_data": str(plan.input_data) if plan.input_data else None,
        "metadata": plan.metadata,
        "recipe": plan.recipe.to_json(),
        "calibration": calibration.portable(plan.calibration, shop.temporary),
        "calibration_origin": calibration_name(plan.calibration),
        "bake": plan.bake,
    }
    outcome = call(shop, "export", "export_to", request)
    answer = outcome.value
    if plan.use_cache:
        cache.remember(source_key(plan), answer["program"], map(Path, answer["files"]))
    return answer["program"], outcome.parts


# -- Building --------------------------------------------------------------------------------------


def _build_all(shop: Workshop, program: Description, todo: list[str]) -> dict[str, FormatResult]:
    weights = program["parameters"] * 4
    jobs = 1 if weights > _LARGE or not shop.plan.isolate else shop.plan.jobs
    pool = ThreadPoolExecutor(jobs)
    try:
        futures = {name: pool.submit(_build, shop, program, name) for name in longest_first(todo)}
        return {name: future.result() for name, future in futures.items()}
    finally:  # after Ctrl-C: end the workers, or their threads would be waited for
        for each in list(shop.workers.values()):
            worker.stop(each)
        pool.shutdown(cancel_futures=True)


def _build(shop: Workshop, program: Description, name: str) -> FormatResult:
    result = _attempt(shop, program, name)
    if result.status != FAILED or not shop.plan.bisect:
        return result
    stem = shop.plan.name or program["metadata"]["name"]
    found = bisection.find(shop, name, stem) if _may_be_cut(result) else None
    return replace(result, reproducer=found)


def _may_be_cut(result: FormatResult) -> bool:
    """Whether the converter or the artifact failed, and not something around them."""
    return result.error is None or isinstance(result.error, ConversionError)


def _attempt(shop: Workshop, program: Description, name: str) -> FormatResult:
    plan, started = shop.plan, time.monotonic()
    shop.progress(name, "starting")
    draft = shop.drafts / _file_name(plan, program, name)
    try:
        _refuse(plan, program, name)
        request = {
            "folder": str(shop.program),
            "format_name": name,
            "recipe": plan.recipe.to_json(),
            "options": plan.options[name],
            "draft": str(draft),
        }
        outcome = call(shop, name, "build", request)
        made = Artifact.from_json(outcome.value, draft)
        result = _deliver(shop, made)
        if plan.use_cache and result.artifact is not None:
            key = artifact_key(plan, program, name)
            cache.store(key, result.artifact.files, result.artifact.to_json())
    except EdgekitError as error:
        shop.progress(name, "failed")
        return FormatResult(name, FAILED, error=error, seconds=time.monotonic() - started)
    shop.progress(name, result.status)
    return replace(
        result,
        seconds=time.monotonic() - started,
        peak_rss_bytes=outcome.peak_rss_bytes,
        parts=outcome.parts,
    )


def _refuse(plan: Plan, program: Description, name: str) -> None:
    """Raise what is known to be in the way before any work is done."""
    module = registry.load("formats", name)
    absent = module.unavailable()
    if absent is not None:
        raise absent
    reason = module.supports(plan.recipe)
    if reason is not None:
        raise ConversionError(f"{name} cannot make recipe {plan.recipe.name}: {reason}.")
    size = plan.recipe.bytes_for(program["parameters"])
    if module.MAX_BYTES is not None and size > module.MAX_BYTES:
        fitting = [each.name for each in _smaller(plan, program, module.MAX_BYTES)]
        raise ConversionError(
            f"{name} files end at {module.MAX_BYTES / 2**30:.0f} GiB, and the weights alone take "
            f"{size / 2**30:.1f} GiB in {plan.recipe.name}.",
            f"Recipe {fitting[0]} fits." if fitting else "Use another format, or a smaller model.",
        )


def _smaller(plan: Plan, program: Description, limit: int) -> list[Recipe]:
    fits = (each for each in recipes().values() if each.bytes_for(program["parameters"]) <= limit)
    return [each for each in fits if each.name != plan.recipe.name]


def _file_name(plan: Plan, program: Description, name: str) -> str:
    suffix: str = registry.load("formats", name).SUFFIXES[0]
    return (plan.name or program["metadata"]["name"]) + suffix


def _deliver(shop: Workshop, made: Artifact, *, cached: bool = False) -> FormatResult:
    verdict = made.verification
    assert verdict is not None
    if verdict.status == FAILED:
        place = delivery.reject(made, shop.plan.output_dir)
        return FormatResult(made.format, FAILED, verification=verdict, rejected=place)
    placed = delivery.deliver(made, shop.plan.output_dir)
    return FormatResult(made.format, verdict.status, placed, verdict, cached=cached)


# -- The cache -------------------------------------------------------------------------------------


def _from_cache(shop: Workshop) -> tuple[Description | None, dict[str, FormatResult]]:
    """Return the program that the source is known to give, and what is finished of it."""
    plan = shop.plan
    if not plan.use_cache or not isinstance(plan.source, str):
        return None, {}
    program = cache.recall(source_key(plan))
    return program, _finished(shop, program) if program is not None else {}


def _finished(shop: Workshop, program: Description) -> dict[str, FormatResult]:
    """Deliver the formats whose artifacts are in the cache."""
    plan, done = shop.plan, {}
    for name in plan.formats if plan.use_cache else ():
        started = time.monotonic()
        found = cache.find(artifact_key(plan, program, name))
        if found is None:
            continue
        path, record = found
        draft = shop.drafts / _file_name(plan, program, name)
        kept = Artifact.from_json(record, path)
        made = delivery.renamed(kept, draft)
        result = _deliver(shop, made, cached=True)
        done[name] = replace(result, seconds=time.monotonic() - started)
    return done
