"""Static int8 beside the vendors': what `scripts/peers.py quantize` does.

The same model, the same calibration data, one process, one thread.  Latencies are taken in turn,
one inference of each file after another, so that a busy machine slows all of them alike.
"""

from __future__ import annotations

import contextlib
import io
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import edgekit
from edgekit.metrics import compare

ROOT = Path(__file__).parent.parent
SAMPLES = 16  # of calibration data: seeded noise, since the models' weights are seeded, too
FILES = ("onnx fp32", "onnx int8", "onnx vendor", "tflite fp32", "tflite int8", "tflite vendor")


def measure(name: str, rounds: int) -> None:
    """Print one model's latencies, ratios, errors and sizes."""
    sys.path.insert(0, str(ROOT))
    from tests.conformance import zoo

    module, inputs = zoo.build(name)
    (example,) = inputs
    data = [torch.randn(example.shape, generator=_seed(index)) for index in range(SAMPLES)]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        paths = _ours(module, example, data, Path(folder))
        paths |= _vendors(module, example, data, Path(folder))
        with torch.no_grad():
            want = module(example).numpy()
        times, outputs = _interleaved(paths, example.numpy(), rounds)
        sizes = {kind: path.stat().st_size for kind, path in paths.items()}
    print(f"{name}, {rounds} rounds, {SAMPLES} calibration samples")
    for kind in FILES:
        sqnr = compare(want, outputs[kind]).sqnr_db
        figures = [1e3 * f(times[kind]) for f in (statistics.median, min)]
        print(
            f"  {kind:14} median {figures[0]:8.2f} ms, fastest {figures[1]:8.2f} ms, "
            f"SQNR {sqnr:6.1f} dB, {sizes[kind] / 1e6:.2f} MB"
        )
    for format_name in ("onnx", "tflite"):
        for other in ("fp32", "vendor"):
            pair = times[f"{format_name} int8"], times[f"{format_name} {other}"]
            medians, fastest = _ratio(*pair, statistics.median), _ratio(*pair, min)
            label = f"{format_name} int8 / {other}"
            print(f"  {label}: {medians:.2f} of medians, {fastest:.2f} of fastest")


def _seed(index: int) -> torch.Generator:
    return torch.Generator().manual_seed(index)


def _ratio(ours: list[float], theirs: list[float], figure: Any) -> float:
    return float(figure(ours) / figure(theirs))


def _ours(module: Any, example: Any, data: list[Any], folder: Path) -> dict[str, Path]:
    paths = {}
    for recipe, short, given in (("fp32", "fp32", None), ("int8", "int8", data)):
        report = edgekit.convert(
            module,
            (example,),
            formats=["onnx", "tflite"],
            recipe=recipe,
            calibration=given,
            output_dir=folder / recipe,
            name="m",
            use_cache=False,
        )
        for result in report.results:
            if result.artifact is None:
                raise SystemExit(f"{result.format} {recipe}: {result.error or result.verification}")
            paths[f"{result.format} {short}"] = result.artifact.path
    return paths


def _vendors(module: Any, example: Any, data: list[Any], folder: Path) -> dict[str, Path]:
    """Quantize with ONNX Runtime's and Google's tools, as their documentation shows."""
    return {
        "onnx vendor": _onnx_runtime(module, example, data, folder),
        "tflite vendor": _ai_edge(module, example, data, folder),
    }


def _onnx_runtime(module: Any, example: Any, data: list[Any], folder: Path) -> Path:
    from onnxruntime import quantization as ort
    from onnxruntime.quantization.shape_inference import quant_pre_process

    plain, prepared, made = (folder / f"{n}.onnx" for n in ("plain", "prepared", "vendor"))
    program = torch.onnx.export(module, (example,), dynamo=True, input_names=["x"])
    assert program is not None
    program.save(str(plain))

    class Reader(ort.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter(data)

        def get_next(self) -> dict[str, Any] | None:
            sample = next(self.rest, None)
            return None if sample is None else {"x": sample.numpy()}

    quant_pre_process(str(plain), str(prepared))
    ort.quantize_static(str(prepared), str(made), Reader(), per_channel=True)
    return made


def _ai_edge(module: Any, example: Any, data: list[Any], folder: Path) -> Path:
    import litert_torch
    from ai_edge_quantizer import qtyping, quantizer, recipe

    plain, made = folder / "plain.tflite", folder / "vendor.tflite"
    litert_torch.convert(module, (example,)).export(str(plain))
    tool = quantizer.Quantizer(str(plain), recipe.static_wi8_ai8())
    for border in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        tool.update_quantization_recipe(".*", border, algorithm_key="no_quantize")  # as ours
    with edgekit.open(plain) as session:
        (spec,) = session.signature.inputs
    samples = [{spec.name: sample.numpy()} for sample in data]
    ranges = tool.calibrate({"serving_default": samples})
    tool.quantize(ranges).export_model(str(made))
    return made


def _interleaved(
    paths: dict[str, Path], example: Any, rounds: int
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Return the seconds of each file's inferences, and its output."""
    with contextlib.ExitStack() as stack:
        runs = {}
        for kind, path in paths.items():
            session = stack.enter_context(edgekit.open(path))
            runs[kind] = (
                session,
                {session.signature.inputs[0].name: np.ascontiguousarray(example)},
            )
        outputs = {k: next(iter(s.run(feeds).values())) for k, (s, feeds) in runs.items()}
        times: dict[str, list[float]] = {kind: [] for kind in runs}
        for _ in range(rounds):
            for kind, (session, feeds) in runs.items():
                started = time.perf_counter()
                session.run(feeds)
                times[kind].append(time.perf_counter() - started)
    return times, outputs
