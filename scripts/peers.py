"""edgekit beside the vendors' own tools, measured in one run on one machine.

    python scripts/peers.py convert         three vendors' scripts one after another, against one
                                            `edgekit convert --no-cache`, in turn
    python scripts/peers.py quantize M...   static int8 against the vendors' int8 and our own fp32;
                                            artifacts and records are kept in build/peers
    python scripts/peers.py scale           time and peak memory against the number of weights

`quantize` writes docs/int8.md, `scale` writes docs/scale.md and docs/scale.svg.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from edgekit.device_agent import Probe, facts

ROOT = Path(__file__).parent.parent
MODELS = ROOT / "scripts" / "bench_models.py"
EDGEKIT = str(Path(sys.executable).with_name("edgekit"))
SIZES = (1, 5, 25, 100, 200, 400)

# Each vendor's converter, called as its documentation shows.
LOAD = "import sys; sys.path.insert(0, {folder!r}); from bench_models import {model} as make\n"
VENDORS = {
    "onnx": "import torch\nm, x = make()\ntorch.onnx.export(m, x, dynamo=True).save('m.onnx')",
    "tflite": "import litert_torch\nm, x = make()\nlitert_torch.convert(m, x).export('m.tflite')",
    "coreml": (
        "import torch, coremltools as ct\nm, x = make()\n"
        "p = torch.export.export(m, x).run_decompositions({})\n"
        "ct.convert(p, minimum_deployment_target=ct.target.iOS17).save('m.mlpackage')"
    ),
}


def main() -> int:
    """Run the comparison that is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    convert = verbs.add_parser("convert")
    convert.add_argument("--rounds", type=int, default=3)
    convert.add_argument("--model", default="mobilenet_v2")
    scale = verbs.add_parser("scale")
    scale.add_argument("--millions", type=int, nargs="*", default=SIZES)
    quantize = verbs.add_parser("quantize")
    quantize.add_argument("--seconds", type=float, default=20.0, help="of timing per model")
    quantize.add_argument("--remake", action="store_true", help="our int8 artifacts, where kept")
    quantize.add_argument("models", nargs="*", help="to measure now; none: judge what is on record")
    chosen = parser.parse_args()
    print(f"{machine()}, load {Probe().load()}")
    return {"convert": compare_conversion, "scale": measure_scale, "quantize": compare_int8}[
        chosen.verb
    ](chosen)


def machine() -> str:
    """Name the machine."""
    found = facts(Probe())
    return f"{found['processor']}, {found['cores']} cores"


# -- quantize --------------------------------------------------------------------------------------


def compare_int8(chosen: argparse.Namespace) -> int:
    """Measure the models that are asked for, each in a process of its own; judge all on record."""
    import peers_bars

    kept = ROOT / "build" / "peers"
    for name in chosen.models:
        command = [sys.executable, str(ROOT / "scripts" / "peers_quantize.py"), name]
        command += [str(kept / name), "--seconds", str(chosen.seconds)]
        done = subprocess.run(
            [*command, *(["--remake"] if chosen.remake else [])],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            print(f"{name} failed: {done.stderr.strip()[-1500:]}", flush=True)
            continue
        record = done.stdout.strip().splitlines()[-1]
        (kept / name / "record.json").write_text(record)
        print(peers_bars.line(json.loads(record)), flush=True)
    return peers_bars.judged(kept, ROOT / "docs" / "int8.md", machine())


# -- convert ---------------------------------------------------------------------------------------


def compare_conversion(chosen: argparse.Namespace) -> int:
    """Print the wall time of both ways, round by round, and the median of their ratios."""
    ratios = []
    for index in range(chosen.rounds):
        with tempfile.TemporaryDirectory() as folder:
            vendors = {
                name: wall([sys.executable, "-c", script(name, chosen.model)], folder)
                for name in VENDORS
            }
            ours = wall(
                [EDGEKIT, "convert", f"{MODELS}:{chosen.model}", "--no-cache", "-o", folder], folder
            )
        theirs = sum(vendors.values())
        ratios.append(ours / theirs)
        parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in vendors.items())
        print(
            f"round {index + 1}: vendors {theirs:.1f} s ({parts}); edgekit {ours:.1f} s, "
            f"verification included; ratio {ours / theirs:.2f}",
            flush=True,
        )
    print(f"median ratio {statistics.median(ratios):.2f}")
    return 0


def script(vendor: str, model: str) -> str:
    """Return the vendor's conversion as a program."""
    return LOAD.format(folder=str(MODELS.parent), model=model) + VENDORS[vendor]


def wall(command: list[str], folder: str) -> float:
    """Run a command to its end and return its wall time in seconds."""
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command[:3]} failed:\n{done.stderr[-2000:]}")
    return time.perf_counter() - started


# -- scale -----------------------------------------------------------------------------------------


def measure_scale(chosen: argparse.Namespace) -> int:
    """Convert transformers of growing size to ONNX and Core ML in fp16; report time and memory."""
    rows = []
    for millions in chosen.millions:
        with tempfile.TemporaryDirectory(dir=ROOT) as folder:
            seconds, peak, parameters = watched(
                [
                    *(EDGEKIT, "convert", f"{MODELS}:transformer", "--no-cache", "-o", folder),
                    *("--to", "onnx,coreml", "--recipe", "fp16", "--json"),
                ],
                {"EDGEKIT_BENCH_MILLIONS": str(millions)},
            )
        rows.append((parameters / 1e6, seconds, peak / 1e9, peak / (4 * parameters)))
        size, _, memory, ratio = rows[-1]
        print(
            f"{size:.0f} M weights: {seconds:.1f} s, peak {memory:.2f} GB, "
            f"{ratio:.2f} x fp32 weights",
            flush=True,
        )
    report(rows)
    return 0


def watched(command: list[str], environment: dict[str, str]) -> tuple[float, int, int]:
    """Run a conversion; return its wall time, the peak memory of its processes, its weights.

    Memory is the sum of proportional set sizes: a page that n processes share counts 1/n in each.
    """
    peak = 0
    done = threading.Event()
    started = time.perf_counter()
    with subprocess.Popen(
        command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:

        def sample() -> None:
            nonlocal peak
            while not done.wait(0.1):
                peak = max(peak, resident(process.pid))

        sampler = threading.Thread(target=sample)
        sampler.start()
        out, err = process.communicate()
        done.set()
        sampler.join()
    if process.returncode:
        raise SystemExit(f"conversion failed: {err.decode()[-2000:]}\n{out.decode()[-2000:]}")
    return time.perf_counter() - started, peak, json.loads(out)["parameters"]


def resident(pid: int) -> int:
    """Return the proportional set size of a process and all below it, in bytes."""
    total = 0
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return 0
    for each in family:
        try:
            total += each.memory_full_info().pss
        except psutil.Error:
            continue
    return total


def report(rows: list[tuple[float, float, float, float]]) -> None:
    """Write the table and the plot."""
    table = [
        "# Conversion time and memory against model size",
        "",
        "Made by `python scripts/peers.py scale`: transformers with seeded random weights,",
        "converted to ONNX and Core ML in recipe `fp16`, verification included, without the cache.",
        "Memory is the peak over all processes together (proportional set size).",
        f"Machine: {machine()}.",
        "",
        "| weights (M) | seconds | peak memory (GB) | peak / fp32 weights |",
        "|---|---|---|---|",
        *(
            f"| {size:.0f} | {s:.1f} | {memory:.2f} | {ratio:.2f} |"
            for size, s, memory, ratio in rows
        ),
    ]
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for axis, column, label in ((axes[0], 1, "seconds"), (axes[1], 2, "peak memory (GB)")):
        axis.plot([row[0] for row in rows], [row[column] for row in rows], "o-")
        axis.set(xlabel="weights (M)", ylabel=label, xlim=0, ylim=0)
        axis.grid(visible=True, alpha=0.3)
    figure.savefig(ROOT / "docs" / "scale.svg", metadata={"Date": None})
    table += ["", "![Time and peak memory against the number of weights](scale.svg)"]
    (ROOT / "docs" / "scale.md").write_text("\n".join(table) + "\n")


if __name__ == "__main__":
    sys.exit(main())
