"""What the options of a static recipe's [calibration] table gain and cost.

    python scripts/quantize_methods.py                  measure all, write the tables into the docs
    python scripts/quantize_methods.py MODEL ...        measure some and print them
    python scripts/quantize_methods.py --methods equalize,adaptive --quick MODEL ...

Every method quantizes the same float graph on the same calibration data, and the quantized graph
runs in PyTorch: nothing is lowered.  Sample models are trained, calibrated on 64 samples of their
own data, and measured on their whole test split, or with ``--quick`` on 64 samples of it, without
their task.  The others have seeded random weights, batch
normalization fitted, and read seeded noise: 16 samples to calibrate on, 8 others to measure.
"""

from __future__ import annotations

import argparse
import importlib
import math
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts"), str(ROOT / "sample_models")]

from edgekit import passes  # noqa: E402 - sample models and the zoo lie beside this file's folder
from edgekit.exporting import export, to_numpy  # noqa: E402
from edgekit.plan import in_memory  # noqa: E402
from edgekit.program import Program  # noqa: E402
from edgekit.quantize import static  # noqa: E402
from edgekit.quantize.calibration import CalibrationData, read  # noqa: E402
from edgekit.quantize.costs import tensors  # noqa: E402
from edgekit.recipe import Calibration, load_recipe  # noqa: E402
from edgekit.runtimes import Arrays  # noqa: E402

SAMPLES = (
    "digit_classifier", "keyword_spotter", "shape_segmenter", "sentiment_transformer",
    "gesture_gru",
)  # fmt: skip
ZOO = (
    "mobilenetv2_w1", "mobilenetv3_small_w1", "shufflenetv2_w1", "efficientnet_b0", "resnet18",
    "bert_tiny", "vit_tiny", "convnext_tiny",
)  # fmt: skip
_PLAIN = Calibration("min_max", correct_bias=False)
METHODS: dict[str, Calibration] = {
    "min_max": _PLAIN,
    "correct_bias": replace(_PLAIN, correct_bias=True),
    "auto + correct_bias": replace(_PLAIN, method="auto", correct_bias=True),
    "equalize": replace(_PLAIN, equalize=True),
    "equalize + correct_bias": replace(_PLAIN, equalize=True, correct_bias=True),
    "adaptive": replace(_PLAIN, rounding="adaptive"),
    "adaptive + correct_bias": replace(_PLAIN, rounding="adaptive", correct_bias=True),
    "all three": replace(_PLAIN, equalize=True, rounding="adaptive", correct_bias=True),
    **{
        name: replace(_PLAIN, method=name)
        for name in ("moving_average", "percentile", "entropy", "mse")
    },
}
MARKS = ("<!-- methods: scripts/quantize_methods.py -->", "<!-- end of methods -->")
PAGE = ROOT / "docs" / "how-to" / "quantize.md"
Run = Callable[[Arrays], Arrays]


@dataclass(frozen=True)
class Case:
    """A model, its data, and what it is measured by: a function of a way to run it."""

    program: Program
    data: CalibrationData
    measure: Callable[[Run], dict[str, float]]


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help="default: all")
    parser.add_argument("--methods", help="default: all; min_max is always one")
    parser.add_argument("--quick", action="store_true")
    chosen = parser.parse_args()
    wanted = {"min_max", *(chosen.methods.split(",") if chosen.methods else METHODS)}
    methods = {name: how for name, how in METHODS.items() if name in wanted}
    results = {}
    for model in chosen.models or (*SAMPLES, *ZOO):
        results[model] = measured(case(model, quick=chosen.quick), methods)
        for method, (db, metric) in results[model].items():
            print(f"{model}: {method}: {db:.1f} dB {metric or ''}", file=sys.stderr, flush=True)
    text = tables(results, list(methods))
    print(text)
    if not (chosen.models or chosen.methods or chosen.quick):
        before, _, rest = PAGE.read_text().partition(MARKS[0])
        PAGE.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{rest.partition(MARKS[1])[2]}")


# -- Models ----------------------------------------------------------------------------------------


def case(name: str, *, quick: bool) -> Case:
    """Return a sample model, or one of the zoo."""
    if name in SAMPLES:
        sample = importlib.import_module(name)
        inputs = {k: v[:64] for k, v in sample.dataset("calibration")[0].items()}
        program = exported(sample.build(), sample.example_inputs(), name)
        data = read(inputs, program.samples[0])
        if not quick:
            return Case(program, data, sample.evaluate)
        some = {k: v[:64] for k, v in sample.dataset("test")[0].items()}
        return Case(program, data, on(read(some, program.samples[0])))
    from peers_quantize import varied

    from tests.conformance import zoo

    module, given = zoo.build(name)
    program = exported(module, given, name)
    data = read([varied(given, index) for index in range(16)], program.samples[0])
    others = read([varied(given, 16 + index) for index in range(8)], program.samples[0])
    return Case(program, data, on(others))


def on(data: CalibrationData) -> Callable[[Run], dict[str, float]]:
    """Return what runs a model on samples, and knows no task."""

    def measure(run: Run) -> dict[str, float]:
        for each in data.samples:
            run(each)
        return {}

    return measure


def exported(module: Any, inputs: Any, name: str) -> Program:
    """Return a model as conversions quantize it: exported, batch normalization folded."""
    made = export(in_memory(module, inputs, name))
    return replace(made, exported=passes.run(made.exported)[-1].exported)


# -- Measuring -------------------------------------------------------------------------------------


def measured(model: Case, methods: dict[str, Calibration]) -> dict[str, tuple[float, float | None]]:
    """Return by method the SQNR against the float model, and the first figure of the task."""
    wanted: list[Arrays] = []
    plain = runner(model.program)
    metrics = model.measure(lambda feeds: kept(plain(feeds), wanted))
    found = {"float": (math.inf, first(metrics))}
    for method, how in methods.items():
        recipe = replace(load_recipe("int8"), calibration=how)
        run = runner(static.quantize(model.program, recipe, model.data))
        got: list[Arrays] = []
        metrics = model.measure(lambda feeds, run=run, got=got: kept(run(feeds), got))
        found[method] = (sqnr_db(wanted, got), first(metrics))
    return found


def runner(program: Program) -> Run:
    """Return what runs a program."""
    module = program.exported.module(check_guards=False)

    def run(feeds: Arrays) -> Arrays:
        with torch.no_grad():
            outputs = module(**tensors(feeds, program))
        return {name: to_numpy(value) for name, value in outputs.items()}

    return run


def kept(outputs: Arrays, where: list[Arrays]) -> Arrays:
    """Remember what a model gave."""
    where.append(outputs)
    return outputs


def first(metrics: dict[str, float]) -> float | None:
    """Return the first figure, None where there is none."""
    return next(iter(metrics.values()), None)


def sqnr_db(wanted: list[Arrays], got: list[Arrays]) -> float:
    """Return the SQNR over all samples, of the output that has the lowest."""

    def one(name: str) -> float:
        pairs = [(a[name].astype(np.float64), b[name]) for a, b in zip(wanted, got, strict=True)]
        error = sum(float(np.square(a - b).sum()) for a, b in pairs)
        return 10 * math.log10(sum(float(np.square(a).sum()) for a, _ in pairs) / error)

    return min(one(name) for name in wanted[0] if wanted[0][name].dtype.kind == "f")


# -- Tables ----------------------------------------------------------------------------------------


def tables(results: dict[str, dict[str, Any]], methods: list[str]) -> str:
    """Return the tables as Markdown."""
    tasks = [name for name in results if results[name]["float"][1] is not None]
    gains = {m: [r[m][0] - r["min_max"][0] for r in results.values()] for m in methods}
    head = ["SQNR in dB", *methods]
    rows = [[name, *(f"{r[m][0]:.1f}" for m in methods)] for name, r in results.items()]
    for title, of in (("median gain", np.median), ("worst gain", np.min)):
        rows.append([title, *(f"{float(of(gains[m])):+.1f}" for m in methods)])
    text = [
        f"Measured on {platform.processor() or platform.machine()}, PyTorch {torch.__version__}."
    ]
    text += ["", table(head, rows)]
    if tasks:
        columns = ["float", *methods]
        rows = [[name, *(f"{results[name][m][1]:.4f}" for m in columns)] for name in tasks]
        text += ["", table(["task", *columns], rows)]
    return "\n".join(text)


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return one table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


if __name__ == "__main__":
    main()
