"""Convert every sample model in several recipes and measure its task on each artifact.

    python scripts/accuracy.py            print the table and write it into the README
    python scripts/accuracy.py --check    fail when an artifact is too far from PyTorch: 0.2 points
                                          in floating point, 0.5 points in integers

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
from edgekit.recipe import load_recipe

ROOT = Path(__file__).parent.parent
MODELS = ROOT / "sample_models"
RECIPES = {"fp32": 0.002, "fp16": 0.002, "static_wi8_ai8": 0.005}  # and how far from PyTorch
FORMATS = ("onnx", "tflite", "coreml")
MARKS = ("<!-- accuracy table: scripts/accuracy.py -->", "<!-- end of accuracy table -->")


def main() -> int:
    """Measure, print, and write or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="judge only; leave the README alone")
    parser.add_argument("--recipe", action="append", choices=RECIPES, help="default: all")
    parser.add_argument("models", nargs="*", help="names; default: all")
    chosen = parser.parse_args()
    sys.path.insert(0, str(MODELS))
    names = chosen.models or sorted(p.stem for p in MODELS.glob("*.py") if p.stem != "sample_data")
    rows, far = [], []
    for name in names:
        row, distances = measure(name, chosen.recipe or list(RECIPES))
        print(row, flush=True)
        rows.append(row)
        far += [f"{name} {recipe}: {d:.4f}" for recipe, d in distances if d > RECIPES[recipe]]
    print("further from PyTorch than allowed: " + (", ".join(far) or "none"))
    if not chosen.check and not chosen.recipe and not chosen.models:
        write(rows)
    return int(bool(far))


def measure(name: str, recipes: list[str]) -> tuple[str, list[tuple[str, float]]]:
    """Return a table row for one model, and the largest distance from PyTorch in each recipe."""
    from sample_data import torch_run

    sample = importlib.import_module(name)
    reference = sample.evaluate(torch_run(sample.build()))
    cells = [format_metrics(reference)]
    distances = []
    for recipe in recipes:
        static = load_recipe(recipe).is_static
        data = sample.dataset("calibration")[0] if static else None
        worst = 0.0
        with tempfile.TemporaryDirectory() as folder:
            report = edgekit.convert(
                str(MODELS / f"{name}.py"),
                formats=FORMATS,
                recipe=recipe,
                calibration=data,
                output_dir=folder,
            )
            for result in report.results:
                if result.artifact is None:
                    reason = result.error or result.verification
                    raise SystemExit(f"{name} {recipe} {result.format}: {reason}")
                with edgekit.open(result.artifact) as session:
                    measured = sample.evaluate(session.run)
                worst = max(worst, *(abs(measured[key] - reference[key]) for key in reference))
                verdict = result.verification
                decibels = verdict.quantization_sqnr_db or verdict.sqnr_db
                cells.append(f"{format_metrics(measured)} ({decibels:.0f} dB)")
        distances.append((recipe, worst))
    return f"| {name} | " + " | ".join(cells) + " |", distances


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
