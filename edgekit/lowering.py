"""What a conversion's workers run: `export_to` once, then `build` once per format.

Requests and answers are plain data, since they cross a process boundary.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from edgekit import cutting, passes, registry, reproducers, worker
from edgekit import program as programs
from edgekit.artifact import measured
from edgekit.dependencies import recorded
from edgekit.errors import UsageError
from edgekit.exporting import export
from edgekit.formats import options_for
from edgekit.importing import call_user, import_file, on_path
from edgekit.inputs import InputSpec, read_samples
from edgekit.layers import layers_of
from edgekit.loading import load_source
from edgekit.passes.legalization import describe
from edgekit.processing import declared
from edgekit.processing.baking import Picture, pictures_of
from edgekit.program import Program
from edgekit.quantize import Quantization
from edgekit.quantize.calibration import CalibrationData
from edgekit.quantize.calibration import read as read_calibration
from edgekit.quantize.pictures import reader
from edgekit.quantize.placement import placement
from edgekit.recipe import Recipe, Tolerance, recipes
from edgekit.source import Source
from edgekit.tensors import Signature
from edgekit.verification import verify_file

_ROOM_DB = 6.0  # an artifact may be twice as far from its graph as another computation of the graph


def warm_up() -> None:
    """Import what `export_to` needs."""
    importlib.import_module("torch.export")


def export_to(
    folder: str,
    source: str,
    weights: str | None,
    inputs: list[str],
    input_data: str | None,
    metadata: dict[str, Any],
    recipe: dict[str, Any] | None = None,
    calibration: str | None = None,
    calibration_origin: str | None = None,
    bake: bool = False,
) -> dict[str, Any]:
    """Load, export and save a source; return its description and the files that were read."""
    worker.stage("loading the model")
    with recorded() as files:
        loaded = load_source(source, weights=Path(weights) if weights else None)
        pictures = pictures_of(declared.find(source)) if bake else None
    data = Path(input_data) if input_data else None
    made = _exported(loaded, inputs, data, metadata, pictures=pictures)
    chosen = Recipe.from_json(recipe) if recipe else None
    with recorded() as more:
        ranges_from = _calibration_data(made, chosen, calibration, calibration_origin)
    described = _stored(made, Path(folder), chosen, ranges_from)
    read = {*files, *more, *([data] if data else [])}
    return {"program": described, "files": sorted(str(path.absolute()) for path in read)}


def save(
    source: Source,
    folder: Path,
    *,
    inputs: Sequence[str] = (),
    input_data: Path | None = None,
    metadata: dict[str, Any] | None = None,
    dynamic: Any = None,
    recipe: Recipe | None = None,
    calibration: Any = None,
    bake: bool = False,
) -> dict[str, Any]:
    """Export a loaded source, quantize it where the recipe does that on the graph, and save it.

    Returns:
        The description of the program in `folder`.
    """
    pictures = pictures_of(declared.find(source.origin)) if bake else None
    made = _exported(source, inputs, input_data, metadata or {}, dynamic, pictures)
    return _stored(made, folder, recipe, _calibration_data(made, recipe, calibration))


def fit_budget(
    folder: str,
    source: str | None,
    formats: list[str],
    recipe: dict[str, Any],
    calibration: str | None,
    calibration_origin: str | None,
    budget: float,
    integers_only: bool = False,
) -> dict[str, Any]:
    """Find the cheapest precisions of a saved float program's layers within a budget."""
    from edgekit.quantize.fit import budget as budgets

    worker.stage("looking for the layers that 8 bits hurt")
    made, chosen = programs.load(Path(folder)), Recipe.from_json(recipe)
    data = _calibration_data(made, chosen, calibration, calibration_origin)
    assert data is not None  # the plan asks for a static recipe
    evaluate = _evaluation(source) if source else None
    found = budgets.fit(made, chosen, data, budget, evaluate, formats, integers_only=integers_only)
    return found.to_json()


def try_recipes(
    folder: str,
    format_name: str,
    recipes: dict[str, dict[str, Any]],
    calibration: str | None,
    calibration_origin: str | None,
    options: dict[str, Any],
    drafts: str,
) -> list[dict[str, Any]]:
    """Make a saved float program in some recipes; return their time and size beside float's."""
    from edgekit.quantize.fit.bench import Bench

    worker.stage("comparing the recipe with float")
    wanted = {told: Recipe.from_json(each) for told, each in recipes.items()}
    program = programs.load(Path(folder))
    data = _calibration_data(program, next(iter(wanted.values())), calibration, calibration_origin)
    assert data is not None  # they are static
    bench = Bench(
        lambda: programs.load(Path(folder)),
        data,
        _beside_float(format_name, options),
        format_name,
        Path(drafts),
    )
    return [asdict(bench.tried(told, each)) for told, each in wanted.items()]


def fit_speed(
    folder: str,
    format_name: str,
    recipe: dict[str, Any],
    calibration: str | None,
    calibration_origin: str | None,
    options: dict[str, Any],
    drafts: str,
) -> dict[str, Any]:
    """Find what of a saved float program a static recipe may quantize without being slower here."""
    from edgekit.quantize.fit import speed

    worker.stage("timing kinds of layers in float and in 8 bits")
    chosen = Recipe.from_json(recipe)
    data = _calibration_data(programs.load(Path(folder)), chosen, calibration, calibration_origin)
    assert data is not None  # the plan asks for a static recipe
    return speed.fit(
        lambda: programs.load(Path(folder)),
        chosen,
        data,
        _beside_float(format_name, options),
        format_name,
        Path(drafts),
    ).to_json()


def _beside_float(format_name: str, options: dict[str, Any]) -> Any:
    """Return what writes a program; one in float without options that are for integers alone."""
    module = registry.load("formats", format_name)
    narrow = getattr(module, "integers_only", None)
    plain = options_for(format_name, {}) if narrow is not None and narrow(options) else options

    def lower(program: Program, recipe: Recipe, path: Path) -> Signature:
        given = options if recipe.is_static else plain
        made: Signature = module.lower(program, recipe, given, path)
        return made

    return lower


def _evaluation(source: str) -> Any:
    """Return the ``evaluate(run)`` that a source file defines; None where there is none."""
    path = Path(source.partition(":")[0])
    if path.suffix != ".py":
        return None
    with on_path(path.absolute().parent):
        function = getattr(import_file(path), "evaluate", None)
    if not callable(function):
        return None

    def evaluate(run: Any) -> Any:
        def evaluate() -> Any:
            return function(run)

        with on_path(path.absolute().parent):
            return call_user(evaluate, str(path))

    return evaluate


def _exported(
    source: Source,
    inputs: Sequence[str],
    input_data: Path | None,
    metadata: dict[str, Any],
    dynamic: Any = None,
    pictures: Mapping[str, Picture] | None = None,
) -> Program:
    worker.stage("exporting the model")
    given = {key: value for key, value in metadata.items() if value}
    if isinstance(source.module, Program):
        if pictures:
            raise UsageError(
                "A program is exported already, so nothing can be baked into it.",
                "Bake when the module is exported.",
            )
        made = source.module.copied()  # passes change what they are given
    else:
        specs = tuple(map(InputSpec.parse, inputs))
        samples = None if input_data is None else read_samples(input_data)
        made = export(source, inputs=specs, dynamic=dynamic, samples=samples, pictures=pictures)
    exported = made.exported
    if made.quantization is None:  # or constants would be folded that are meant to be dequantized
        exported = passes.run(exported)[-1].exported
    return replace(made, exported=exported, metadata=replace(made.metadata, **given))


def _calibration_data(
    program: Program, recipe: Recipe | None, given: Any, origin: str | None = None
) -> CalibrationData | None:
    if recipe is None or not recipe.is_static or program.quantization is not None:
        return None
    worker.stage("reading the calibration data")
    pictures = reader(lambda: declared.find(program.origin), program.signature)
    return read_calibration(given, program.samples[0], origin, pictures)


def _stored(
    program: Program, folder: Path, recipe: Recipe | None, data: CalibrationData | None
) -> dict[str, Any]:
    if recipe is not None and recipe.overrides:
        from edgekit.quantize import precisions

        precisions.check(program.exported, recipe)
    if recipe is not None and data is not None:
        worker.stage("calibrating")
        from edgekit.quantize import static

        program = static.quantize(program, recipe, data)
    elif recipe is not None and recipe.changes_graph and program.quantization is None:
        worker.stage("quantizing the weights")
        from edgekit.quantize import weights

        program = weights.quantized(program, recipe)
    worker.stage("saving the program")
    return program.save(folder).describe()


def build(
    folder: str, format_name: str, recipe: dict[str, Any], options: dict[str, Any], draft: str
) -> dict[str, Any]:
    """Lower a saved program to one format, verify the result, return the artifact's record."""
    module = registry.load("formats", format_name)
    chosen = Recipe.from_json(recipe)
    worker.stage("opening the program")
    loaded = programs.load(Path(folder))
    samples, references = loaded.samples, loaded.references
    layers = layers_of(loaded.exported)
    worker.stage("converting")
    signature = module.lower(loaded, chosen, options, Path(draft))
    origin, identity, quantized = loaded.origin, loaded.sha256, loaded.quantization
    del loaded  # its weights; the runtime is about to load its own
    worker.stage("verifying")
    verdict = verify_file(
        Path(draft),
        format_name,
        signature,
        samples,
        references,
        _tolerance(chosen, quantized),
        layers=lambda: layers,
    )
    if quantized is not None:
        placed = placement(Path(draft), format_name) if quantized.method else None
        verdict = replace(
            verdict,
            quantization_sqnr_db=quantized.sqnr_db,
            rounding_sqnr_db=quantized.rounding_db,
            calibration=quantized.told,
            remarks=quantized.notes,
            placement=placed.to_json() if placed else None,
        )
    return {
        "format": format_name,
        "recipe": chosen.name,
        "definition": None if recipes().get(chosen.name) == chosen else chosen.to_json(),
        "signature": signature.to_json(),
        "program_sha256": identity,
        "origin": origin,
        "options": options,
        "toolchain": module.toolchain(),
        "verification": verdict.to_json(),
        **measured(Path(draft)),
    }


def _tolerance(recipe: Recipe, quantized: Quantization | None) -> Tolerance:
    """Return how close an artifact must be to its graph: at most so as the graph to itself."""
    if quantized is None:
        return recipe.tolerance
    nearest = quantized.rounding_db - _ROOM_DB
    return recipe.tolerance.within(nearest, recipe.tolerance_to_source)


# -- Parts of a program, for `edgekit.bisection` ---------------------------------------------------


def count_steps(folder: str) -> int:
    """Return how many operators a saved program can be cut between."""
    return len(cutting.steps(programs.load(Path(folder)).exported))


def build_part(
    folder: str,
    format_name: str,
    recipe: dict[str, Any],
    options: dict[str, Any],
    steps: list[int],
    part: str,
    draft: str,
) -> dict[str, Any]:
    """Build some steps of a saved program as `build` does the whole; return the verdict."""
    cutting.cut(programs.load(Path(folder)), steps).save(Path(part))
    verdict: dict[str, Any] = build(part, format_name, recipe, options, draft)["verification"]
    return verdict


def keep_part(
    folder: str,
    format_name: str,
    recipe: dict[str, Any],
    steps: list[int],
    destination: str,
) -> list[str]:
    """Write some steps of a saved program as a folder that runs without edgekit; describe them."""
    whole = programs.load(Path(folder))
    every = cutting.steps(whole.exported)
    told = [describe(every[index]) for index in steps]
    reproducers.write(
        cutting.cut(whole, steps), format_name, Recipe.from_json(recipe), Path(destination)
    )
    return told
