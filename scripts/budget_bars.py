"""What an accuracy budget finds beside the naive way, which keeps the first and the last layer.

    python scripts/budget_bars.py [MODEL ...]       one row of a table each; default: all of MODELS
    python scripts/budget_bars.py --paces [MODEL]   what each precision costs in time and size here

The loss is the RMS error of the outputs as a share of their size, on inputs that calibration did
not see.  The budget is what the naive plan loses; the plan found loses no more, and is better when
it costs less as well: rough time and bytes, each as a share of the float model's.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import edgekit
from edgekit import passes, registry
from edgekit.layers import layer_of
from edgekit.program import Program
from edgekit.quantize import static
from edgekit.quantize.calibration import CalibrationData, read
from edgekit.quantize.constants import WEIGHTED
from edgekit.quantize.fit import budget
from edgekit.quantize.fit.bench import Bench
from edgekit.quantize.fit.ladder import Rung, applied, climbed
from edgekit.quantize.fit.within import Within
from edgekit.quantize.precisions import base_name
from edgekit.recipe import Recipe, load_recipe
from edgekit.runtimes import Arrays

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "sample_models"), str(ROOT / "scripts")]
from peers_quantize import varied  # noqa: E402 - found by the line above

from tests.conformance import zoo  # noqa: E402

RECIPE = load_recipe("int8")
FORMATS = ("onnx", "tflite", "coreml")
SAMPLES = ("digit_classifier", "keyword_spotter", "sentiment_transformer", "shape_segmenter")
ZOO = (
    *("mobilenetv2_w1", "mobilenetv3_small_w1", "resnet18", "squeezenet_v1_1"),
    *("bert_tiny", "t5_encoder", "llama_nocache"),
)
MADE = ("culprit_in_the_middle",)
MODELS = (*SAMPLES, *MADE, *ZOO)
CALIBRATION, EVALUATION = 8, 4  # samples of seeded noise for models with random weights
TEST = 32  # samples of a trained model's test split


class Middle(nn.Module):
    """Eight convolutions; the channels that the fifth reads differ a thousandfold in size."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.Conv2d(3 if place == 0 else 16, 16, 3, padding=1) for place in range(8)]
        )
        spread = torch.logspace(0, 3, 16).reshape(16, 1, 1)
        self.register_buffer("spread", spread)
        with torch.no_grad():
            self.layers[4].weight /= spread

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return eight times filtered pictures."""
        for place, layer in enumerate(self.layers):
            image = torch.tanh(layer(image * self.spread if place == 4 else image))
        return image


@dataclass(frozen=True)
class Case:
    """A model, what ranges are found on, and what plans are judged on."""

    program: Program
    data: CalibrationData
    unseen: tuple[Arrays, ...]

    def evaluate(self) -> Callable[[budget.Run], dict[str, float]]:
        """Return a measure that is 1 for the float model, and less by the error of its outputs."""
        run = budget._runner(self.program)  # noqa: SLF001
        wanted = [run(sample) for sample in self.unseen]

        def closeness(other: budget.Run) -> dict[str, float]:
            error = power = 0.0
            for sample, want in zip(self.unseen, wanted, strict=True):
                for name, got in other(sample).items():
                    error += float(np.square(got - want[name], dtype=np.float64).sum())
                    power += float(np.square(want[name], dtype=np.float64).sum())
            return {"closeness": 1 - (error / power) ** 0.5}

        return closeness


def case(name: str) -> Case:
    """Return a model by its name."""
    if name in SAMPLES:
        sample = importlib.import_module(name)
        program = _exported(sample.build(), sample.example_inputs())
        calibration, unseen = (sample.dataset(split)[0] for split in ("calibration", "test"))
        unseen = {name: rows[:TEST] for name, rows in unseen.items()}
    else:
        module, inputs = _random(name)
        program = _exported(module, inputs)
        rows = [varied(inputs, seed) for seed in range(CALIBRATION + EVALUATION)]
        calibration, unseen = rows[:CALIBRATION], rows[CALIBRATION:]
    data, other = (read(each, program.samples[0]) for each in (calibration, unseen))
    return Case(program, data, other.samples)


def _random(name: str) -> tuple[nn.Module, Any]:
    if name not in MADE:
        return zoo.build(name)
    torch.manual_seed(0)
    return Middle().eval(), (torch.randn(1, 3, 32, 32),)


def _exported(module: nn.Module, inputs: Any) -> Program:
    made = edgekit.export(module, inputs)
    return replace(made, exported=passes.run(made.exported)[-1].exported)


@dataclass(frozen=True)
class Plan:
    """What a plan loses, the share of multiplications in float, kB added to weights, its cost."""

    loss: float
    macs: float
    kilobytes: float
    cost: float

    def __str__(self) -> str:
        """Write it as cells of Markdown."""
        return f"{self.loss:.2%} | {self.macs:.0%} | {self.kilobytes:.0f} | {self.cost:.3f}"


def planned(found: Within, chosen: Mapping[str, str], loss: float) -> Plan:
    """Return what is to be known of a plan for the layers of a model."""
    possible = climbed(RECIPE, FORMATS)
    macs, weights = (sum(getattr(e, k) for e in found.layers) for k in ("macs", "weights"))
    plan = replace(found, chosen=chosen)
    cost = sum(
        possible.cost(chosen.get(each.layer, each.first), each.macs / macs, each.weights / weights)
        for each in found.layers
    )
    return Plan(loss, plan.float_macs, plan.extra_bytes / 1000, cost / 2)


def measured(name: str) -> tuple[str, bool]:
    """Compare the two plans for one model: a row of the table, and whether ours is better."""
    given = case(name)
    evaluate = given.evaluate()
    nodes = [n for n in given.program.exported.graph.nodes if base_name(n) in WEIGHTED]
    ends = {layer_of(nodes[place]): "fp32" for place in (0, -1)}
    made = static.quantize(given.program, applied(RECIPE, ends), given.data)
    loss = 1 - evaluate(budget._runner(made))["closeness"]  # noqa: SLF001
    found = budget.fit(given.program, RECIPE, given.data, loss, evaluate, FORMATS)
    naive, ours = planned(found, ends, loss), planned(found, found.chosen, found.loss)
    better = ours.loss <= naive.loss and ours.cost < naive.cost
    verdict = "the same plan" if ours == naive else "yes" if better else "no"
    counts = ", ".join(f"{n} {name}" for name, n in found.counts.items())
    cells = [name, f"{found.all_integer:.2%}", naive, ours, counts, verdict]
    return f"| {' | '.join(map(str, cells))} |", verdict != "no"


def paces(name: str) -> None:
    """Print what whole models in each precision take here, beside the float artifact."""
    given = case(name)

    def everywhere(rung: Rung) -> Recipe:
        if rung.weights == "float16":
            return load_recipe(rung.name)
        return replace(RECIPE, overrides=(rung.override(""),))

    for format_name in FORMATS[:2]:
        module = registry.load("formats", format_name)
        options = {option.name: option.default for option in module.OPTIONS}
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(
                given.program.copied,
                given.data,
                lambda program, recipe, path, m=module, o=options: m.lower(
                    program, recipe, o, path
                ),
                format_name,
                Path(folder),
            )
            for rung in climbed(RECIPE, (format_name,)).rungs[:-1]:
                tried = bench.tried(rung.name, everywhere(rung))
                print(name, format_name, tried, flush=True)


def main() -> int:
    """Print the table; fail where the naive plan is not beaten."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--paces", action="store_true")
    parser.add_argument("models", nargs="*", default=MODELS)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.paces:
        for name in chosen.models:
            paces(name)
        return 0
    plan = "{} | of MACs | kB more | cost"
    heads = f"{plan.format('first and last in float')} | {plan.format('found')}"
    print(f"| model | all in 8 bits | {heads} | layers | better |\n|{'---|' * 12}")
    good = True
    for name in chosen.models:
        row, better = measured(name)
        print(row, flush=True)
        good &= better
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
