"""Vela: Arm's compiler for Ethos-U NPUs; it says which operators the NPU takes, and how long."""

from __future__ import annotations

import contextlib
import csv
import importlib.metadata
import importlib.util
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgekit.errors import ConversionError, UnavailableError

FORMATS = ("tflite",)
_LEAVES_OUT = "operators that run on the CPU, and the calls between CPU and NPU"

# Vela names an operator that it leaves to the CPU by its output, and gives the reason below.
_REASON = re.compile(
    r"^Warning \(supported operators\) operator: (?P<op>\S+), \w+: '(?P<name>[^']*)'\n"
    r"Reason: (?P<reason>[^\n]*)(?:\n(?P<rule>(?!Warning)[^\n]+))?",
    re.MULTILINE,
)


def unavailable() -> UnavailableError | None:
    """Return why nothing can be compiled."""
    if importlib.util.find_spec("ethosu") is not None:
        return None
    return UnavailableError("ethos-u-vela is not installed.", "pip install 'edgekit[npu]'")


def build(model: str, options: Mapping[str, str], folder: str) -> dict[str, Any]:
    """Compile a model; the page of the package describes what is returned."""
    from ethosu.vela import vela

    arguments = [
        model,
        *("--accelerator-config", options["accelerator"]),
        *("--system-config", options["system_config"]),
        *("--memory-mode", options["memory_mode"]),
        *("--config", options.get("config", "Arm/vela.ini")),
        *("--output-dir", folder),
        *("--verbose-performance", "--show-cpu-operations"),
    ]
    talk = Path(folder, "vela.log")
    try:
        with _into(talk):
            code = vela.main(arguments)
    except SystemExit as error:  # how it refuses options and damaged files
        code = error.code if isinstance(error.code, int) else 1
    said = talk.read_text(errors="replace")
    if code != 0:
        lines = [line for line in said.splitlines() if "rror" in line]
        raise ConversionError(f"Vela refused the model: {lines[-1] if lines else f'code {code}'}.")
    stem = Path(folder, Path(model).stem)
    return {
        "compiler": f"Vela {importlib.metadata.version('ethos-u-vela')}",
        "file": str(stem.with_name(f"{stem.name}_vela.tflite")),
        "nodes": _nodes(stem.with_name(f"{stem.name}_per-layer.csv"), said),
        "estimate": _figures(stem.with_name(f"{stem.name}_summary_{options['system_config']}.csv")),
    }


@contextlib.contextmanager
def _into(file: Path) -> Iterator[None]:
    """Send what this process writes into a file: half of Vela is C++, which Python cannot catch."""
    sys.stdout.flush()
    kept = [os.dup(number) for number in (1, 2)]
    try:
        with file.open("wb") as sink:
            os.dup2(sink.fileno(), 1)
            os.dup2(sink.fileno(), 2)
            yield
            sys.stdout.flush()
    finally:
        for number, before in zip((1, 2), kept, strict=True):
            os.dup2(before, number)
            os.close(before)


def _nodes(table: Path, said: str) -> list[dict[str, Any]]:
    """Return one entry per operator: where it runs, its cycles, or why the NPU does not take it."""
    reasons = {
        found["name"]: _short(found["reason"], found["rule"]) for found in _REASON.finditer(said)
    }
    nodes = []
    with table.open(newline="") as lines:
        for row in csv.DictReader(lines):
            node: dict[str, Any] = {
                "name": row["Name"],
                "op": row["Original Operator"],
                "on": row["Target"],
            }
            if row["Target"] == "NPU":
                node["cycles"] = int(float(row["Op Cycles"]))
            else:
                node["reason"] = reasons.get(row["Name"], "Vela gives no reason")
            nodes.append(node)
    return nodes


def _short(reason: str, rule: str | None) -> str:
    """Return a reason without the tensors' names, which may fill screens, and the rule broken."""
    plain = re.sub(r"\s*\([^()]*(?:\([^()]*\)[^()]*)*\)\s*$", "", reason)
    return f"{plain}: {rule}" if rule and rule.strip() else plain


def _figures(table: Path) -> dict[str, Any]:
    with table.open(newline="") as lines:
        (row,) = csv.DictReader(lines)
    kib = 1024
    return {
        "latency_s": float(row["inference_time"]),
        "clock_hz": float(row["core_clock"]),
        "cycles": int(float(row["cycles_total"])),
        "cycles_npu": int(float(row["cycles_npu"])),
        "macs": int(float(row["nn_macs"])),
        "sram_bytes": round(float(row["sram_memory_used"]) * kib),
        "off_chip_flash_bytes": round(float(row["off_chip_flash_memory_used"]) * kib),
        "system_config": row["system_config"],
        "memory_mode": row["memory_mode"],
        "leaves_out": _LEAVES_OUT,
    }
