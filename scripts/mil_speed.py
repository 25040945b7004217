"""Time the Core ML reference runtime on a MobileNetV2 against eager PyTorch, interleaved.

Also times what it takes to read a package with and without coremltools, which is why edgekit has a
parser of its own.  Prints ratios of medians, and the machine.

    python scripts/mil_speed.py [--rounds 30]
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))
STAGES = [
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
]  # fmt: skip


class Block(nn.Module):
    """Inverted residual: expand, depthwise, project."""

    def __init__(self, channels: int, out: int, stride: int, factor: int) -> None:
        super().__init__()
        self.residual = stride == 1 and channels == out
        wide = channels * factor
        expand = [] if factor == 1 else [unit(channels, wide, 1)]
        project = [nn.Conv2d(wide, out, 1, bias=False), nn.BatchNorm2d(out)]
        self.layers = nn.Sequential(*expand, unit(wide, wide, 3, stride, wide), *project)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the block."""
        out: torch.Tensor = self.layers(x)
        return x + out if self.residual else out


def unit(channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Module:
    """Convolution, batch normalization, ReLU6."""
    conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out), nn.ReLU6())


def mobilenet_v2() -> nn.Module:
    """Return MobileNetV2 (1.0, 224) with random weights."""
    torch.manual_seed(0)
    layers, channels = [unit(3, 32, 3, 2)], 32
    for factor, out, count, first in STAGES:
        for index in range(count):
            layers.append(Block(channels, out, first if index == 0 else 1, factor))
            channels = out
    head = [unit(channels, 1280, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1000)]
    return nn.Sequential(*layers, *head).eval()


def convert(model: nn.Module, x: torch.Tensor, folder: Path) -> dict[str, Path]:
    """Convert in float32 and float16."""
    import coremltools as ct

    program = torch.export.export(model, (x,)).run_decompositions({})
    paths = {}
    for name in ("FLOAT32", "FLOAT16"):
        paths[name] = folder / f"{name}.mlpackage"
        ct.convert(
            program,
            minimum_deployment_target=ct.target.iOS17,
            compute_precision=ct.precision[name],
            skip_model_load=True,
        ).save(str(paths[name]))
    return paths


def timed(function: Callable[[], Any]) -> float:
    """Return the seconds that one call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def interleaved(functions: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return the median of each function, all run in turn, so that drift hits all alike."""
    samples: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            samples[name].append(timed(function))
    return {name: statistics.median(found) for name, found in samples.items()}


def fresh(code: str) -> float:
    """Return the seconds that `code`, run in a fresh interpreter, reports for itself."""
    wrapped = (
        f"import time; start = time.perf_counter()\n{code}\nprint(time.perf_counter() - start)"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", wrapped], check=True,
                          capture_output=True, text=True)  # fmt: skip
    return float(done.stdout.split()[-1])


def reading(path: Path) -> None:
    """Print how long a package takes to be read, by coremltools and by edgekit."""
    spec = "ct.models.MLModel(path, skip_model_load=True)"
    pymil = "from coremltools.converters.mil.frontend.milproto.load import load"
    theirs = (
        f"import coremltools as ct; path = {str(path)!r}\n{pymil}\nmodel = {spec}\n"
        "load(model.get_spec(), model.get_spec().specificationVersion, model.weights_dir)"
    )
    ours = (
        f"from pathlib import Path\nfrom edgekit.wire.mlprogram import read_model\n"
        f"read_model(Path({str(path)!r}))"
    )
    print(f"import coremltools           {fresh('import coremltools'):7.2f} s")
    print(f"coremltools, read to pymil   {fresh(theirs):7.2f} s with its import")
    print(f"edgekit, read to Program     {fresh(ours):7.2f} s with its import")


def main(rounds: int) -> None:
    """Measure and print."""
    from edgekit.runtimes import mil

    torch.set_num_threads(1)
    model, x = mobilenet_v2(), torch.randn(1, 3, 224, 224)
    with tempfile.TemporaryDirectory() as folder:
        paths = convert(model, x, Path(folder))
        reading(paths["FLOAT16"])
        feeds = {"input": x.numpy()}
        engines: dict[str, mil.MilEngine] = {}
        for name, precision in (("FLOAT32", "exact"), ("FLOAT16", "float32"), ("FLOAT16", "exact")):
            label = f"{name} program, {precision}"
            start = time.perf_counter()
            engines[label] = mil.load(paths[name], threads=1, precision=precision)  # type: ignore[arg-type]
            loaded = time.perf_counter()
            feeds = {engines[label].signature.inputs[0].name: x.numpy()}
            engines[label].infer(feeds, [])
            first = time.perf_counter() - loaded
            print(f"{label:<28} {loaded - start:7.3f} s load, {first:.3f} s first run")
        runs: dict[str, Callable[[], Any]] = {
            label: lambda engine=engine: engine.infer(feeds, [])  # type: ignore[misc]
            for label, engine in engines.items()
        }
        with torch.inference_mode():
            medians = interleaved({"eager PyTorch": lambda: model(x), **runs}, rounds)
    for name, median in medians.items():
        ratio = median / medians["eager PyTorch"]
        print(f"{name:<28} {median * 1e3:7.1f} ms  {ratio:5.2f} x eager")
    print(f"{platform.platform()}, 1 thread, torch {torch.__version__}, {rounds} rounds")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=30)
    main(parser.parse_args().rounds)
