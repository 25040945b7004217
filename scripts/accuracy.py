"""Convert every sample model in every floating-point recipe and measure its task on each artifact.

    python scripts/accuracy.py            print the table and write it into the README
    python scripts/accuracy.py --check    fail when an artifact is more than 0.2 points from PyTorch

The figures are fractions on each model's whole test split, one sample at a time; Core ML is
executed by edgekit's reference runtime.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
import tempfile
from pathlib import Path

import edgekit

ROOT = Path(__file__).parent.parent
MODELS = ROOT / "sample_models"
RECIPES = ("fp32", "fp16")
FORMATS = ("onnx", "tflite", "coreml")
BOUND = 0.002
MARKS = ("<!-- accuracy table: scripts/accuracy.py -->", "<!-- end of accuracy table -->")


def main() -> int:
    """Measure, print, and write or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="judge only; leave the README alone")
    parser.add_argument("models", nargs="*", help="names; default: all")
    chosen = parser.parse_args()
    sys.path.insert(0, str(MODELS))
    names = chosen.models or sorted(p.stem for p in MODELS.glob("*.py") if p.stem != "sample_data")
    rows, worst = [], 0.0
    for name in names:
        row, distance = measure(name)
        print(row, flush=True)
        rows.append(row)
        worst = max(worst, distance)
    print(f"largest distance from PyTorch: {worst:.4f} (bound {BOUND})")
    if not chosen.check:
        write(rows)
    return int(worst > BOUND)


def measure(name: str) -> tuple[str, float]:
    """Return a table row for one model, and its artifacts' largest distance from PyTorch."""
    from sample_data import torch_run

    sample = importlib.import_module(name)
    reference = sample.evaluate(torch_run(sample.build()))
    cells = [format_metrics(reference)]
    worst = 0.0
    for recipe in RECIPES:
        with tempfile.TemporaryDirectory() as folder:
            report = edgekit.convert(
                str(MODELS / f"{name}.py"), formats=FORMATS, recipe=recipe, output_dir=folder
            )
            for result in report.results:
                if result.artifact is None:
                    reason = result.error or result.verification
                    raise SystemExit(f"{name} {recipe} {result.format}: {reason}")
                with edgekit.open(result.artifact) as session:
                    measured = sample.evaluate(session.run)
                worst = max(worst, *(abs(measured[key] - reference[key]) for key in reference))
                decibels = result.verification.sqnr_db
                cells.append(f"{format_metrics(measured)} ({decibels:.0f} dB)")
    return f"| {name} | " + " | ".join(cells) + " |", worst


def format_metrics(metrics: dict[str, float]) -> str:
    """Return the first metric, the one that the model is judged by."""
    key, value = next(iter(metrics.items()))
    return f"{value:.4f}" if key == "accuracy" else f"{value:.4f} {key.replace('_', ' ')}"


def write(rows: list[str]) -> None:
    """Put the table between its marks in the README."""
    heads = ["model", "PyTorch", *(f"{f} {r}" for r in RECIPES for f in FORMATS)]
    table = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads), *rows]
    readme = ROOT / "README.md"
    pattern = re.compile(f"(?<={re.escape(MARKS[0])}\n).*?(?={re.escape(MARKS[1])})", re.DOTALL)
    readme.write_text(pattern.sub(lambda _: "\n".join(table) + "\n", readme.read_text()))


if __name__ == "__main__":
    sys.exit(main())
