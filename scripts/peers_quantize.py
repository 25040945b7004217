"""Static int8 beside the vendors', one model: what `scripts/peers.py quantize` runs for each.

    python scripts/peers_quantize.py MODEL FOLDER [--remake] [--seconds S]

The same model, the same calibration data, one process, one thread.  The six artifacts are kept in
FOLDER; ``--remake`` makes our int8 ones anew.  Latencies are taken in turn, a few inferences of one
file after those of another, so that a busy machine slows all alike.  The result is one line of JSON
on stdout.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers_bars import FASTER, FORMATS

import edgekit
from edgekit.errors import ConversionError
from edgekit.metrics import compare

ROOT = Path(__file__).parent.parent
CALIBRATION, EVALUATION = 16, 16  # samples of seeded noise, since the weights are seeded, too
BURST = 3  # timed inferences of one file in a row, after one that is not
SUFFIXES = {"onnx": ".onnx", "tflite": ".tflite"}
Feeds = dict[str, np.ndarray]


def main() -> None:
    """Measure one model and print the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--remake", action="store_true")
    parser.add_argument("--seconds", type=float, default=20.0)
    chosen = parser.parse_args()
    with contextlib.redirect_stdout(io.StringIO()):
        record = measure(chosen.model, chosen.folder, chosen.seconds, remake=chosen.remake)
    print(json.dumps(record))


def measure(name: str, folder: Path, seconds: float, *, remake: bool) -> dict[str, Any]:
    """Make what is missing, run every artifact, return all that is to be known of the model."""
    sys.path.insert(0, str(ROOT))
    from tests.conformance import zoo

    module, inputs = zoo.build(name)
    folder.mkdir(parents=True, exist_ok=True)
    calibration = [varied(inputs, index) for index in range(CALIBRATION)]
    verdicts = ours(module, inputs, calibration, folder, remake=remake)
    reasons = vendors(module, inputs, calibration, folder)
    files = {f"{f} {kind}": folder / f"{kind}{SUFFIXES[f]}" for f in FORMATS for kind in KINDS}
    files = {key: path for key, path in files.items() if path.exists()}
    samples = [varied(inputs, CALIBRATION + index) for index in range(EVALUATION)]
    with torch.no_grad():
        wanted = [module(*each).numpy() for each in samples]
    errors, runs = {}, {}
    for key, path in files.items():
        run = OPENERS[key.split()[0]](path)
        outputs = [run([t.numpy() for t in each]).copy() for each in samples]
        errors[key] = compare(np.stack(wanted), np.stack(outputs)).sqnr_db
        arrays = [t.numpy() for t in samples[0]]
        runs[key] = lambda run=run, arrays=arrays: run(arrays)
    return {
        "model": name,
        "times": interleaved(runs, seconds),
        "sqnr_db": errors,
        "bytes": {key: path.stat().st_size for key, path in files.items()},
        "verdicts": verdicts,
        "missing": reasons,
    }


KINDS = ("fp32", "int8", "vendor")


def varied(inputs: tuple[torch.Tensor, ...], seed: int) -> tuple[torch.Tensor, ...]:
    """Return inputs of the same kind: noise for floats, other tokens for integers, masks as is."""
    generator = torch.Generator().manual_seed(seed)

    def one(value: torch.Tensor) -> torch.Tensor:
        if value.is_floating_point():
            return torch.randn(value.shape, generator=generator)
        low, high = int(value.min()), int(value.max())
        return torch.randint(low, high + 1, value.shape, generator=generator, dtype=value.dtype)

    return tuple(map(one, inputs))


# -- Making ----------------------------------------------------------------------------------------


def ours(
    module: Any, inputs: Any, calibration: list[Any], folder: Path, *, remake: bool
) -> dict[str, Any]:
    """Make our float and integer artifacts; return what is known of the integer ones."""
    paths = [folder / f"fp32{SUFFIXES[f]}" for f in FORMATS]
    if not all(path.exists() for path in paths):
        _converted(module, inputs, folder, formats=list(FORMATS), name="fp32")
    told = {}
    for name in FORMATS:
        record = folder / f"verdict.{name}.json"
        if remake or not record.exists():
            record.write_text(json.dumps(_integer(module, inputs, calibration, folder, name)))
        told[name] = json.loads(record.read_text())
    return told


def _integer(module: Any, inputs: Any, calibration: Any, folder: Path, name: str) -> Any:
    """Make an int8 artifact; where it is slower than float, some layers compute in float."""
    asked: dict[str, Any] = {"formats": [name], "recipe": "int8", "calibration": calibration}
    made, why = _converted(module, inputs, folder, name="int8", **asked), ""
    if _slower(folder, name, inputs):
        try:
            made = _converted(module, inputs, folder, name="int8", fast_here=True, **asked)
        except (
            ConversionError
        ) as error:  # float is faster throughout: integers stay, and it is said
            why = error.message
    (result,) = made.results
    verdict = result.to_json()["verification"]
    fitted = made.fitted.to_json() if made.fitted is not None else None
    return {**verdict, "slow": fitted["slow"] if fitted else {}, "slower": why}


def _slower(folder: Path, name: str, inputs: Any) -> bool:
    """Whether the int8 artifact is no faster than the float one, but for what busy times hide."""
    arrays = [each.numpy() for each in inputs]
    opened = {k: OPENERS[name](folder / f"{k}{SUFFIXES[name]}") for k in ("int8", "fp32")}
    times = interleaved({k: lambda run=run: run(arrays) for k, run in opened.items()}, 2.0)
    ratios = [a / b for a, b in zip(times["int8"], times["fp32"], strict=True)]
    return bool(np.median(ratios) > FASTER)


def _converted(module: Any, inputs: Any, folder: Path, **asked: Any) -> edgekit.ConvertReport:
    report = edgekit.convert(module, inputs, output_dir=folder, use_cache=False, **asked)
    for result in report.results:
        if result.rejected is not None:  # it is measured all the same, and said
            result.rejected.rename(folder / f"{asked['name']}{SUFFIXES[result.format]}")
        elif result.artifact is None:
            raise SystemExit(f"{asked['name']}, {result.format}: {result.error}")
    return report


def vendors(module: Any, inputs: Any, calibration: list[Any], folder: Path) -> dict[str, str]:
    """Quantize with the vendors' tools; return why one could not, by format."""
    reasons = {}
    makers: dict[str, Callable[..., None]] = {"onnx": onnx_runtime, "tflite": ai_edge}
    for name, make in makers.items():
        path, said = folder / f"vendor{SUFFIXES[name]}", folder / f"vendor.{name}.failed"
        if not path.exists() and not said.exists():
            try:
                make(module, inputs, calibration, path)
            except Exception as error:  # noqa: BLE001 - whatever a vendor's tool raises is a finding
                said.write_text(f"{type(error).__name__}: {str(error)[:300]}")
        if said.exists():
            reasons[name] = said.read_text()
    return reasons


def onnx_runtime(module: Any, inputs: Any, calibration: list[Any], made: Path) -> None:
    """ONNX Runtime's `quantize_static`, as its documentation shows, on torch.onnx's model."""
    from onnxruntime import quantization as ort
    from onnxruntime.quantization.shape_inference import quant_pre_process

    plain, prepared = made.with_name("vendor-plain.onnx"), made.with_name("vendor-prepared.onnx")
    names = [f"x{index}" for index in range(len(inputs))]
    program = torch.onnx.export(module, inputs, dynamo=True, input_names=names)
    assert program is not None
    program.save(str(plain))

    class Reader(ort.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter(calibration)

        def get_next(self) -> dict[str, Any] | None:
            sample = next(self.rest, None)
            return sample and {n: t.numpy() for n, t in zip(names, sample, strict=True)}

    quant_pre_process(str(plain), str(prepared))
    ort.quantize_static(str(prepared), str(made), Reader(), per_channel=True)
    plain.unlink()
    prepared.unlink()


def ai_edge(module: Any, inputs: Any, calibration: list[Any], made: Path) -> None:
    """ai-edge-quantizer's `static_wi8_ai8` on litert_torch's model, with float inputs as ours."""
    import litert_torch
    from ai_edge_quantizer import qtyping, quantizer, recipe

    plain = made.with_name("vendor-plain.tflite")
    litert_torch.convert(module, inputs).export(str(plain))
    tool = quantizer.Quantizer(str(plain), recipe.static_wi8_ai8())
    for border in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        tool.update_quantization_recipe(".*", border, algorithm_key="no_quantize")
    with edgekit.open(plain) as session:
        specs = session.signature.inputs
    samples = [
        {s.name: t.numpy().astype(s.dtype.numpy()) for s, t in zip(specs, each, strict=True)}
        for each in calibration
    ]
    ranges = tool.calibrate({"serving_default": samples})
    tool.quantize(ranges).export_model(str(made))
    plain.unlink()


# -- Running ---------------------------------------------------------------------------------------


def _onnx(path: Path) -> Callable[[list[Any]], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return lambda arrays: session.run(None, dict(zip(names, arrays, strict=False)))[0]


def _tflite(path: Path) -> Callable[[list[Any]], Any]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    with edgekit.open(path) as session:
        names = [spec.name for spec in session.signature.inputs]
    details = interpreter.get_signature_runner().get_input_details()
    takes = [details[name] for name in names]
    gives = interpreter.get_output_details()[0]["index"]

    def run(arrays: list[Any]) -> Any:
        for detail, array in zip(takes, arrays, strict=False):
            interpreter.set_tensor(detail["index"], array.astype(detail["dtype"], copy=False))
        interpreter.invoke()
        return interpreter.get_tensor(gives)

    return run


OPENERS = {"onnx": _onnx, "tflite": _tflite}


def interleaved(runs: dict[str, Callable[[], Any]], seconds: float) -> dict[str, list[float]]:
    """Return for each file the fastest inference of every burst, bursts taken in turn."""
    times: dict[str, list[float]] = {key: [] for key in runs}
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends or len(next(iter(times.values()))) < 5:
        for key, run in runs.items():
            run()
            burst = []
            for _ in range(BURST):
                started = time.perf_counter()
                run()
                burst.append(time.perf_counter() - started)
            times[key].append(min(burst))
    return times


if __name__ == "__main__":
    main()
