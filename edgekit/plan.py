"""What a conversion will do, resolved and checked before anything runs."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgekit import cache, exporting, registry, runtimes
from edgekit import formats as format_plugins
from edgekit.errors import UsageError
from edgekit.inputs import InputSpec
from edgekit.recipe import Recipe, load_recipe
from edgekit.source import Metadata, Source

SCHEMA_VERSION = 1
ALL_FORMATS = ("onnx", "tflite", "coreml")
TIMEOUT = 3600.0  # seconds, per format


@dataclass(frozen=True)
class Plan:
    """Everything that decides a conversion, resolved and checked; nothing has run yet."""

    source: str | Source
    formats: tuple[str, ...]
    recipe: Recipe
    output_dir: Path
    name: str | None = None
    weights: Path | None = None
    inputs: tuple[str, ...] = ()
    input_data: Path | None = None
    calibration: Any = None
    dynamic: Mapping[str, Any] | None = None
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    jobs: int = 2
    timeout: float = TIMEOUT
    isolate: bool = True
    use_cache: bool = True
    bisect: bool = False
    bake: bool = False
    accuracy_budget: float | None = None
    fast_here: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain data, for ``--dry-run``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "source": self.source if isinstance(self.source, str) else self.source.origin,
            "formats": {name: self.options[name] for name in self.formats},
            "recipe": self.recipe.name,
            "output_dir": str(self.output_dir),
            "name": self.name,
            "weights": str(self.weights) if self.weights else None,
            "inputs": list(self.inputs),
            "input_data": str(self.input_data) if self.input_data else None,
            "calibration": calibration_name(self.calibration),
            "jobs": self.jobs,
            "timeout_s": self.timeout,
            "cache": self.use_cache,
            "bake_preprocessing": self.bake,
            "accuracy_budget": self.accuracy_budget,
            "fast_here": self.fast_here,
        }


def plan(
    source: Any,
    *,
    example_inputs: Any = None,
    formats: Iterable[str] = ALL_FORMATS,
    recipe: str | Path | Recipe = "fp32",
    calibration: Any = None,
    output_dir: str | Path = "out",
    name: str | None = None,
    dynamic_shapes: Mapping[str, Any] | None = None,
    isolate: bool = True,
    jobs: int | None = None,
    weights: str | Path | None = None,
    inputs: Sequence[str] = (),
    buckets: Sequence[int] = (),
    input_data: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    timeout: float = TIMEOUT,
    use_cache: bool = True,
    bisect: bool = False,
    bake_preprocessing: bool = False,
    accuracy_budget: float | str | None = None,
    fast_here: bool = False,
) -> Plan:
    """Resolve and check the arguments of a conversion without running anything.

    Args:
        source: A source string (see `edgekit.loading`), an ``nn.Module`` or a `Program`.
        example_inputs: Arguments of one call of a module: a tuple, or a dict by argument name.
        formats: Names of the formats to convert to.
        recipe: Name or alias of a recipe, the path of a recipe file, or a Recipe.
        calibration: Data for a recipe that calibrates: an ``.npz`` file, a folder, a
            ``file.py:callable``, an iterable of input sets, or ``random``.
        output_dir: Folder for the artifacts; made when it does not exist.
        name: Stem of the artifacts' file names; None for the source's own name.
        dynamic_shapes: Dynamic dimensions of a module's inputs, as ``torch.export`` takes them: by
            input name, then by axis; a pair (min, max) will do for a dimension.
        isolate: Whether the conversions run in processes of their own.
        jobs: How many processes run at once; None for the number of processors.
        weights: Trained weights to load into the module of a source string.
        inputs: Shapes of the inputs, as ``--input`` takes them.
        buckets: The only sizes that the ranges in `inputs` take: one artifact holds the model at
            each of them, with fixed shapes where the format can.
        input_data: An ``.npz`` file, or a folder of them, to verify on.
        options: Options of single formats, e.g. ``{"opset": 20, "ios": 17}``.
        metadata: Fields of `edgekit.source.Metadata` that overrule the source's.
        timeout: Seconds that each process may take.
        use_cache: Whether finished conversions are taken from, and put into, the cache.
        bisect: Whether to look for the smallest part of the model on which a format fails, where
            one does, and to keep it beside the artifacts.
        bake_preprocessing: Whether pictures go into the artifacts as pixels: the arithmetic of the
            processing that the source declares becomes part of the model.
        accuracy_budget: The most that a static recipe may lose, as ``0.01`` or ``1%``: layers that
            cost too much stay in float.  It is measured by the ``evaluate(run)`` of a source file
            or, where there is none, against the float model's answers on the calibration data.
        fast_here: Whether kinds of layers that 8 bits make slower on this machine compute in float:
            found by making and timing artifacts of the one format that is asked for.

    Raises:
        UsageError: a name is unknown, or the arguments contradict each other.
    """
    chosen = load_recipe(recipe)
    _check_calibration(chosen, calibration, source)
    known = registry.names("formats")
    wanted = tuple(dict.fromkeys(registry.match(each, known, "format") for each in formats))
    if not wanted:
        raise UsageError("No format is asked for.", f"Known: {', '.join(known)}.")
    chosen = _fit_for(wanted, chosen)
    if name is not None and (not name or Path(name).name != name):
        raise UsageError(
            f"The name {name!r} is no file name.", "Leave folders out; --output takes them."
        )
    specs = _bucketed([InputSpec.parse(text) for text in inputs], buckets)
    if isinstance(source, str):
        if example_inputs is not None or dynamic_shapes is not None:
            raise UsageError(
                "example_inputs and dynamic_shapes go with a module, not with a source string.",
                'Use inputs=["x:1..8,3,224,224"], or define example_inputs() in the source.',
            )
    else:
        source = in_memory(source, example_inputs, name)
    return Plan(
        source,
        wanted,
        chosen,
        Path(output_dir),
        name,
        Path(weights) if weights is not None else None,
        tuple(map(str, specs)),
        Path(input_data) if input_data is not None else None,
        calibration,
        dynamic_shapes,
        _options(wanted, options or {}),
        dict(metadata or {}),
        max(1, jobs or os.cpu_count() or 1),
        timeout,
        isolate,
        use_cache,
        bisect,
        bake_preprocessing,
        _budget(accuracy_budget, chosen, calibration),
        _fast(fast_here, wanted, chosen, calibration, accuracy_budget),
    )


def _fit_for(formats: tuple[str, ...], recipe: Recipe) -> Recipe:
    """Return the recipe with what it leaves to the formats that are asked for."""
    given = recipe.calibration
    if given is None or given.reduce_range is not None:
        return recipe
    modules = [registry.load("formats", name) for name in formats]
    needed = any(getattr(each, "REDUCES_RANGE", False) for each in modules)
    return replace(recipe, calibration=replace(given, reduce_range=needed))


def _budget(given: float | str | None, recipe: Recipe, calibration: Any) -> float | None:
    if given is None:
        return None
    text = str(given).strip()
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise UsageError(f"An accuracy budget is a share such as 1% or 0.01, not {text!r}.")
    if not recipe.is_static:
        raise UsageError(
            f"An accuracy budget chooses layers of a static recipe, and {recipe.name} is none.",
            "Use --recipe int8.",
        )
    if calibration is None:
        raise UsageError("An accuracy budget needs calibration data.", "Give it with --calibrate.")
    return value


def _fast(
    asked: bool, formats: tuple[str, ...], recipe: Recipe, calibration: Any, budget: Any
) -> bool:
    if not asked:
        return False
    if len(formats) != 1:
        raise UsageError(
            "What is fast differs from format to format: --fast-here takes one.", "Give one --to."
        )
    if not recipe.is_static or calibration is None:
        raise UsageError(
            "--fast-here times a static recipe, with calibration data.",
            "Use --recipe int8 and --calibrate.",
        )
    if budget is not None:
        raise UsageError(
            "Accuracy and speed are fitted one after the other.",
            "Use --accuracy-budget first, then --fast-here with the recipe that it writes.",
        )
    return True


def _bucketed(specs: list[InputSpec], sizes: Sequence[int]) -> list[InputSpec]:
    if not sizes:
        return specs
    if len(set(sizes)) < 2 or min(sizes) < 1:
        raise UsageError("Buckets are two or more sizes above zero, e.g. 64,128,256.")
    if not any(spec.dynamic for spec in specs):
        raise UsageError(
            "Buckets are given, but no dimension varies.",
            'Say which does: --input "tokens:1,64..256:int64".',
        )
    return [spec.bucketed(sizes) for spec in specs]


def in_memory(module: Any, examples: Any, name: str | None) -> Source:
    """Return a module or a `Program` in memory as a source."""
    if isinstance(examples, list):
        examples = tuple(examples)
    elif examples is not None and not isinstance(examples, (tuple, dict)):
        examples = (examples,)
    if hasattr(module, "program"):  # trained with quantization simulated
        module, examples = module.program(), None
    title = name or type(getattr(module, "exported", module)).__name__.lower()
    return Source(module, examples, Metadata(name=title), f"memory:{type(module).__name__}")


def _check_calibration(recipe: Recipe, given: Any, source: Any) -> None:
    if hasattr(source, "program") or getattr(source, "quantization", None) is not None:
        if given is not None:
            raise UsageError("The model is quantized already.", "Leave calibration out.")
        return
    if given is not None and not recipe.is_static:
        raise UsageError(
            f"Recipe {recipe.name} takes no calibration data.", "Leave calibration out."
        )
    if given is None and recipe.is_static:
        raise UsageError(
            f"Recipe {recipe.name} needs calibration data: the ranges of values are found on it.",
            "Give representative inputs: --calibrate data.npz, a folder, or file.py:callable; or "
            "--calibrate random, to time a model whose accuracy does not matter.",
        )


def calibration_name(given: Any) -> str | None:
    """Return what to call calibration data in a record."""
    if given is None:
        return None
    return str(given) if isinstance(given, (str, Path)) else "memory"


def _options(wanted: tuple[str, ...], given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    chosen = {name: format_plugins.options_for(name, given) for name in wanted}
    unknown = set(given) - {key for options in chosen.values() for key in options}
    stray = sorted(key for key in unknown if given[key] is not None)
    if stray:
        raise UsageError(
            f"Option {stray[0]!r} belongs to none of the formats {', '.join(wanted)}.",
            "Leave it out, or ask for the format that has it.",
        )
    return chosen


# -- Identities ------------------------------------------------------------------------------------


def source_key(plan: Plan) -> str:
    """Return the identity of a source string and of all that shapes the program made of it.

    The files that the source reads are not in it: the cache remembers them beside.
    """
    assert isinstance(plan.source, str)
    return cache.key_of(
        {
            "source": plan.source,
            "folder": str(Path.cwd()),
            "weights": str(plan.weights),
            "inputs": plan.inputs,
            "input_data": str(plan.input_data),
            "metadata": plan.metadata,
            "quantization": _quantization_key(plan),
            "bake": plan.bake,
            "toolchain": exporting.toolchain(),
            "edgekit": cache.own_code(),
        }
    )


def _quantization_key(plan: Plan) -> Any:
    """Return what shapes a quantized program; None where the float program will do."""
    if not plan.recipe.changes_graph:
        return None
    given = plan.calibration
    fixed = given is None or isinstance(given, (str, Path))
    return [plan.recipe.to_json(), str(given) if fixed else uuid.uuid4().hex]


def artifact_key(plan: Plan, program: Mapping[str, Any], name: str) -> str:
    """Return the identity of one format's artifact: of all that shapes it and its verdict.

    Args:
        plan: The conversion.
        program: What `Program.describe` returns.
        name: The format.
    """
    module = registry.load("formats", name)
    return cache.key_of(
        {
            "program": program["sha256"],
            "samples": program["samples_sha256"],
            "metadata": program["metadata"],
            "format": name,
            "recipe": plan.recipe.to_json(),
            "options": plan.options[name],
            "toolchain": module.toolchain() if module.unavailable() is None else None,
            "runtimes": [runtimes.describe(each) for each in runtimes.available(name)],
            "edgekit": cache.own_code(),
        }
    )
