"""The public verbs, as ``import edgekit`` offers them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.artifact import Artifact
from edgekit.plan import ALL_FORMATS, TIMEOUT
from edgekit.recipe import Recipe
from edgekit.runtimes import Session
from edgekit.verification import Verification

if TYPE_CHECKING:
    from edgekit.benchmarks import BenchmarkRecord
    from edgekit.benchmarks.comparison import Comparison
    from edgekit.conversion import ConvertReport
    from edgekit.inspection import Inspection
    from edgekit.program import Program


def export(
    module_or_source: Any,
    example_inputs: Any = None,
    *,
    inputs: Sequence[str] = (),
    weights: str | Path | None = None,
    dynamic_shapes: Mapping[str, Any] | None = None,
) -> Program:
    """Export a model in this process; `convert` takes the result in place of a source.

    Args:
        module_or_source: An ``nn.Module``, or a source string (see `edgekit.loading`).
        example_inputs: Arguments of one call: a tuple, or a dict by argument name.
        inputs: Shapes of the inputs, e.g. ``["image:1,3,224,224"]``.
        weights: Trained weights to load into the module of a source string.
        dynamic_shapes: Dynamic dimensions by input name, then by axis.

    Raises:
        SourceError: the model cannot be loaded or called.
        ExportError: torch.export refuses it.
    """
    from edgekit.exporting import export as export_source
    from edgekit.inputs import InputSpec
    from edgekit.loading import load_source
    from edgekit.plan import in_memory

    if isinstance(module_or_source, str):
        source = load_source(module_or_source, weights=Path(weights) if weights else None)
    else:
        source = in_memory(module_or_source, example_inputs, None)
    return export_source(source, inputs=tuple(map(InputSpec.parse, inputs)), dynamic=dynamic_shapes)


def convert(
    module_or_source: Any,
    example_inputs: Any = None,
    formats: Iterable[str] = ALL_FORMATS,
    recipe: str | Path | Recipe = "fp32",
    calibration: Any = None,
    output_dir: str | Path = "out",
    name: str | None = None,
    dynamic_shapes: Mapping[str, Any] | None = None,
    isolate: bool = True,
    jobs: int | None = None,
    *,
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
) -> ConvertReport:
    """Convert a model, verify each artifact, deliver those that do not fail.

    `edgekit.plan.plan` describes each argument.

    Returns:
        One result per format; a format that fails does not stop the others.

    Raises:
        UsageError: the arguments are not right.
        SourceError: the model cannot be loaded or called.
        ExportError: torch.export refuses the model.
    """
    from edgekit import conversion

    return conversion.convert(
        module_or_source,
        example_inputs=example_inputs,
        formats=formats,
        recipe=recipe,
        calibration=calibration,
        output_dir=output_dir,
        name=name,
        dynamic_shapes=dynamic_shapes,
        isolate=isolate,
        jobs=jobs,
        weights=weights,
        inputs=inputs,
        buckets=buckets,
        input_data=input_data,
        options=options,
        metadata=metadata,
        timeout=timeout,
        use_cache=use_cache,
        bisect=bisect,
        bake_preprocessing=bake_preprocessing,
        accuracy_budget=accuracy_budget,
        fast_here=fast_here,
    )


def verify(
    artifact: Artifact | str | Path,
    source: Any,
    example_inputs: Any = None,
    *,
    recipe: str | Recipe | None = None,
    runtime: str | None = None,
    inputs: Sequence[str] = (),
    weights: str | Path | None = None,
    input_data: str | Path | None = None,
) -> Verification:
    """Run an artifact and compare it with the source model again.

    Args:
        artifact: An artifact that edgekit made, or its path.
        source: The model it was made from: a source string, a module or a `Program`.
        example_inputs: As for `convert`.
        recipe: Whose tolerance to hold it to; None for the recipe that made it.
        runtime: Runtime to run it in; None for the best one here.
        inputs: As for `convert`.
        weights: As for `convert`.
        input_data: An ``.npz`` file, or a folder of them, to verify on.

    Raises:
        ArtifactError: the file is missing, damaged, or not the one that its sidecar describes.
    """
    from edgekit.audit import audit

    return audit(
        artifact,
        source,
        example_inputs=example_inputs,
        recipe=recipe,
        runtime=runtime,
        inputs=inputs,
        weights=weights,
        input_data=input_data,
    ).verification


def open(  # noqa: A001 - `edgekit.open` is the public name
    artifact: Artifact | str | Path, *, runtime: str | None = None, threads: int = 1
) -> Session:
    """Open a model file of any known format in a runtime.

    Args:
        artifact: An artifact, or the path of any model file.
        runtime: Name of the runtime; None for the best one here.
        threads: How many threads an inference may use.

    Raises:
        ArtifactError: the file is missing or damaged.
        UnavailableError: no runtime here executes it.
    """
    from edgekit import formats
    from edgekit.runtimes import open_session

    path = artifact.path if isinstance(artifact, Artifact) else Path(artifact)
    return open_session(path, formats.of_path(path), runtime=runtime, threads=threads)


def inspect(path: str | Path) -> Inspection:
    """Read what a model file says about itself.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    from edgekit.inspection import inspect as inspect_file

    return inspect_file(Path(path))


def benchmark(
    artifact: Artifact | str | Path,
    target: str = "local",
    runs: int = 50,
    *,
    device: str | None = None,
    runtime: str | None = None,
    threads: int | None = None,
    warmup_seconds: float = 3.0,
    min_seconds: float = 0.0,
    scenario: str = "single-stream",
    sustained: float | None = None,
    cold: int | None = None,
    profile: int = 0,
    delegate: str | None = None,
    providers: Sequence[str] = (),
    input_data: str | Path | None = None,
    output: str | Path | None = None,
    provision: bool = False,
    resume: bool = False,
    tool: str | None = None,
) -> BenchmarkRecord:
    """Measure the latency of a model file, in a process of its own, here or on a device.

    Args:
        artifact: An artifact, or the path of any model file.
        target: Kind of machine to run on, whose defaults then hold; ``local``: this machine.
        device: Name or address of the device to run on; None: the only one of that target.
        runs: How many samples to take, at least; one is one inference, or several short ones.
        runtime: Name of the runtime; None for the best one here.
        threads: How many threads an inference may use; None: the target's default, or one.
        warmup_seconds: How long to wait for times to become steady, at most; 0: not at all.
        min_seconds: How long to take samples, at least.
        scenario: ``single-stream``, ``multi-stream``, ``offline``, ``server`` or ``streaming``,
            with parameters as in ``server:qps=50,bound=20ms``.
        sustained: Seconds to go on for, to see what heat does.
        cold: How many cold starts to measure as well, each in a new process.
        profile: How many inferences to profile node by node, after the timed ones.
        delegate: TFLite: ``none`` for no XNNPACK, or the library of a delegate.
        providers: ONNX Runtime: execution providers, in order of preference.
        input_data: ``.npz`` file with values for the inputs; seeded ones otherwise.
        output: File to write the record to, while it is measured (as ``.jsonl``) and at its end.
        provision: Bring the runtime along to the device, in a private environment.
        resume: Go on with the journal beside `output` of a run on a device that was cut off.
        tool: Drive a vendor's own benchmark program instead of edgekit's runner:
            ``benchmark_model``, ``litert_benchmark``, ``onnxruntime_perf_test``, ``coremltools`` or
            ``devicectl``; ``NAME=PATH`` says where the program is.

    Returns:
        A record with every raw sample, in seconds.

    Raises:
        UsageError: the request is not right.
        ArtifactError: the file is missing or damaged.
        UnavailableError: no runtime here executes it.
        BenchmarkError: the runner failed or died.
        DeviceError: the device cannot be reached or used.
    """
    from edgekit.benchmarks import Request, benchmark_file

    request = Request(
        runs=runs,
        runtime=runtime,
        threads=threads,
        min_seconds=min_seconds,
        warmup_seconds=warmup_seconds,
        scenario=scenario,
        sustained=sustained,
        cold=cold,
        profile=profile,
        delegate=delegate,
        providers=tuple(providers),
        input_data=Path(input_data) if input_data else None,
    )
    return benchmark_file(
        artifact.path if isinstance(artifact, Artifact) else Path(artifact),
        request,
        target=target,
        device=device,
        provision=provision,
        resume=resume,
        tool=tool,
        output=Path(output) if output else None,
    )


def compare(
    first: Artifact | BenchmarkRecord | str | Path,
    second: Artifact | BenchmarkRecord | str | Path,
    *,
    interleave: bool = False,
    margin: float | None = None,
    rounds: int = 40,
    turn_seconds: float = 0.01,
    threads: int = 1,
    runtime: str | None = None,
    device: str | None = None,
    provision: bool = False,
    output: str | Path | None = None,
) -> Comparison:
    """Say whether the second of two benchmarks is faster, slower or the same.

    Args:
        first: The one to compare with: a record or its file; with `interleave` a model file.
        second: The one in question.
        interleave: Measure both files afresh, in turns, which is far better evidence.
        margin: Changes below this fraction count as none; None: 2 % in turns, 5 % apart.
        rounds: Turns of each, per pair of processes; up to four pairs while it is not clear.
        turn_seconds: Length of a turn.
        threads: With `interleave`: threads of an inference.
        runtime: With `interleave`: name of the runtime; None for the best one here.
        device: With `interleave`: name or address of the device to measure on; None: this machine.
        provision: With `interleave`: bring the runtimes along to the device.
        output: With `interleave`: folder to keep both records in.

    Raises:
        UsageError: the two cannot be compared.
        ArtifactError: a file is missing, damaged, or no record.
    """
    if interleave:
        from edgekit.benchmarks import Request
        from edgekit.benchmarks.interleaving import interleave as in_turns
        from edgekit.devices import load_device

        return in_turns(
            _model_path(first),
            _model_path(second),
            Request(threads=threads, runtime=runtime),
            rounds=rounds,
            turn_s=turn_seconds,
            margin=margin,
            output=Path(output) if output else None,
            device=load_device(device) if device else None,
            provision=provision,
        )
    from edgekit.benchmarks.comparison import compare as compare_records

    return compare_records(_record(first), _record(second), margin=margin)


def _model_path(given: Any) -> Path:
    """Return the path of what is to be measured."""
    return given.path if isinstance(given, Artifact) else Path(getattr(given, "path", given))


def _record(given: Any) -> BenchmarkRecord:
    """Return a record, or read it."""
    from edgekit.benchmarks.record import BenchmarkRecord, read_record

    return given if isinstance(given, BenchmarkRecord) else read_record(_model_path(given))
