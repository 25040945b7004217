"""Verify an artifact after the fact: against its source, in any runtime, on any input data."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgekit import cache, formats, lowering, worker
from edgekit import program as programs
from edgekit.artifact import Artifact, open_artifact, sidecar_of
from edgekit.errors import UsageError
from edgekit.layers import LayerReport, layers_of
from edgekit.layers import compare as compare_layers
from edgekit.plan import TIMEOUT, in_memory
from edgekit.processing.baking import BAKED
from edgekit.recipe import Recipe, Tolerance, load_recipe
from edgekit.tensors import Signature
from edgekit.verification import Verification, verify_file


@dataclass(frozen=True)
class Audit:
    """What an audit found: the verdict, and the layers where they were asked for."""

    verification: Verification
    layers: LayerReport | None = None


def audit(
    artifact: Artifact | str | Path,
    source: Any,
    *,
    example_inputs: Any = None,
    recipe: str | Recipe | None = None,
    runtime: str | None = None,
    inputs: Sequence[str] = (),
    weights: str | Path | None = None,
    input_data: str | Path | None = None,
    timeout: float = TIMEOUT,
    layers: bool = False,
) -> Audit:
    """Verify an artifact; `edgekit.verify` describes the arguments.

    With `layers`, also compare it layer by layer, once it runs.

    A model file without a sidecar, i.e. one that edgekit did not make, is held to the `recipe`
    given; its input and output names must be the source's.
    """
    path = artifact.path if isinstance(artifact, Artifact) else Path(artifact)
    format_name = formats.of_path(path)
    known = open_artifact(path) if sidecar_of(path).is_file() else None
    if known is None and recipe is None:
        raise UsageError(
            f"{path} has no sidecar that says which recipe made it.",
            "Name the tolerance to hold it to, e.g. --recipe fp32.",
        )
    chosen = load_recipe(recipe if recipe is not None else known.made_by)  # type: ignore[union-attr]
    folder = cache.working_folder()
    crew: list[worker.Worker] = []
    try:
        bake = known is not None and any(s.layout in BAKED for s in known.signature.inputs)
        _export(
            folder, crew, source, example_inputs, inputs, weights, input_data, timeout, bake=bake
        )
        crew.append(worker.start(cache.log_file("verify"), temporary=folder))
        request = {
            "folder": str(folder),
            "path": str(path.absolute()),
            "format_name": format_name,
            "signature": known.signature.to_json() if known else None,
            "tolerance": asdict(chosen.tolerance_to_source),
            "runtime": runtime,
            "layers": layers,
        }
        outcome = worker.call(crew[-1], "edgekit.audit:judge", request, timeout=timeout)
    finally:
        for each in crew:
            worker.stop(each)
        shutil.rmtree(folder, ignore_errors=True)
    worker.discard(crew[-1])
    verdict, found = outcome.value["verification"], outcome.value["layers"]
    return Audit(Verification.from_json(verdict), LayerReport.from_json(found) if found else None)


def judge(
    folder: str,
    path: str,
    format_name: str,
    signature: dict[str, Any] | None,
    tolerance: dict[str, float],
    runtime: str | None,
    layers: bool,
) -> dict[str, Any]:
    """Run one artifact on a saved program's samples; runs in a worker."""
    worker.stage("verifying")
    program = programs.describe(Path(folder))
    samples, references = programs.load_samples(Path(folder) / "samples.npz")
    expected = Signature.from_json(signature or program["signature"])
    bounds = Tolerance(**tolerance)
    verdict = verify_file(
        Path(path),
        format_name,
        expected,
        samples,
        references,
        bounds,
        runtime=runtime,
        layers=lambda: layers_of(programs.load(Path(folder)).exported),
    )
    report = None
    if layers and verdict.outputs:
        worker.stage("comparing layers")
        loaded = programs.load(Path(folder))
        report = compare_layers(loaded, Path(path), format_name, expected, bounds.sqnr_db, runtime)
    return {"verification": verdict.to_json(), "layers": report.to_json() if report else None}


def _export(
    folder: Path,
    crew: list[worker.Worker],
    source: Any,
    example_inputs: Any,
    inputs: Sequence[str],
    weights: str | Path | None,
    input_data: str | Path | None,
    timeout: float,
    *,
    bake: bool,
) -> None:
    data = str(input_data) if input_data is not None else None
    if not isinstance(source, str):
        lowering.save(
            in_memory(source, example_inputs, None),
            folder,
            inputs=inputs,
            input_data=Path(data) if data else None,
            bake=bake,
        )
        return
    request: dict[str, Any] = {
        "folder": str(folder),
        "source": source,
        "weights": str(weights) if weights is not None else None,
        "inputs": list(inputs),
        "input_data": data,
        "metadata": {},
        "bake": bake,
    }
    crew.append(worker.start(cache.log_file("export"), temporary=folder))
    worker.call(crew[0], "edgekit.lowering:export_to", request, timeout=timeout)
    worker.discard(crew[0])
