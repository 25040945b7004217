"""The bars of static int8, judged from the records that `scripts/peers.py quantize` keeps."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FORMATS = ("onnx", "tflite")
WELL_DONE = ("mobilenetv2_w1", "resnet18")  # models that the vendors quantize well
Record = dict[str, Any]


def ratio(record: Record, first: str, second: str) -> float | None:
    """Return the median over the turns of one file's time over another's; None without both."""
    times = record["times"]
    if first not in times or second not in times:
        return None
    return statistics.median(a / b for a, b in zip(times[first], times[second], strict=True))


def figures(record: Record, name: str) -> dict[str, float | None]:
    """Return what the bars are about, for one model in one format."""
    error, size, verdict = record["sqnr_db"], record["bytes"], record["verdicts"][name]
    vendor = error.get(f"{name} vendor")
    return {
        "vendor": ratio(record, f"{name} int8", f"{name} vendor"),
        "fp32": ratio(record, f"{name} int8", f"{name} fp32"),
        "sqnr": error[f"{name} int8"],
        "gain": None if vendor is None else error[f"{name} int8"] - vendor,
        "distance": distance(verdict),
        "unexplained": unexplained(verdict),
        "size": size[f"{name} int8"] / size[f"{name} fp32"],
        "integer": (verdict.get("placement") or {}).get("share"),
    }


def distance(verdict: Record) -> float | None:
    """Return by how many dB conversion is more exact than quantization."""
    checks = [float(check["sqnr_db"]) for check in verdict["outputs"]]
    return min(checks) - float(verdict["quantization_sqnr_db"]) if checks else None


def unexplained(verdict: Record) -> float | None:
    """Return that distance where rounding does not explain it; None where it does.

    It does where the artifact is no farther from the graph than twice as far as the graph is from
    itself, computed with other rounding.
    """
    checks = [float(check["sqnr_db"]) for check in verdict["outputs"]]
    nearest = verdict.get("rounding_sqnr_db")
    explained = checks and nearest is not None and min(checks) >= float(nearest) - 6
    return None if explained else distance(verdict)


def line(record: Record) -> str:
    """Return one model's figures as text."""
    parts = []
    for name in FORMATS:
        found = figures(record, name)
        parts.append(
            f"{name}: {_told(found['vendor'])} x vendor, {_told(found['fp32'])} x fp32, "
            f"{found['sqnr']:5.1f} dB ({_told(found['gain'], '+5.1f')}), "
            f"conversion {_told(found['distance'], '+4.0f')}, size {found['size']:.2f}, "
            f"integer {_told(found['integer'])}, {record['verdicts'][name]['status']}"
            + "".join(f", {kind} in float" for kind in record["verdicts"][name].get("slow", ()))
        )
    return f"{record['model']:22} " + " | ".join(parts)


def _told(value: float | None, form: str = ".2f") -> str:
    return "-" if value is None else format(value, form)


def report(folder: Path) -> int:
    """Print the table and one verdict per bar; return 0 when all are met."""
    records = [json.loads(each.read_text()) for each in sorted(folder.glob("*/record.json"))]
    if not records:
        print("nothing on record yet: name the models to measure")
        return 1
    print(f"\n{len(records)} models; figures are ratios of medians in one interleaved run")
    for record in records:
        print(line(record))
        for name in FORMATS:
            if why := record["verdicts"][name].get("slower"):
                print(f"{'':22} {name}: {why}")
        for name, why in record["missing"].items():
            print(f"{'':22} {name}: the vendor's tool fails: {why}")
    verdicts = [verdict for name in FORMATS for verdict in bars(records, name)]
    print()
    for met, told in verdicts:
        print(f"{'met' if met else 'NOT MET':8} {told}")
    return int(not all(met for met, _ in verdicts))


def bars(records: list[Record], name: str) -> Iterable[tuple[bool, str]]:
    """Yield each bar of one format: whether it is met, and what was found."""
    found = {record["model"]: figures(record, name) for record in records}

    def values(key: str) -> dict[str, float]:
        return {model: v for model, each in found.items() if (v := each[key]) is not None}

    against = values("vendor")
    mean = math.exp(statistics.fmean(map(math.log, against.values())))
    worst = max(against, key=against.__getitem__)
    yield mean <= 0.75, f"{name} int8 / vendor int8: geometric mean {mean:.2f} (bar 0.75)"
    yield (
        against[worst] <= 1.03,
        f"{name} int8 / vendor int8: highest {against[worst]:.2f}, {worst} (bar 1.03)",
    )
    own = values("fp32")
    over = {model: round(v, 2) for model, v in own.items() if v > 1.0}
    yield not over, f"{name} int8 / our fp32 above 1.00: {over or 'none'}"
    for model in WELL_DONE:
        if model in own:
            yield own[model] <= 0.45, f"{name} {model} int8 / fp32: {own[model]:.2f} (bar 0.45)"
    gains = values("gain")
    share = statistics.fmean(gain >= 0 for gain in gains.values())
    less = {model: round(v, 1) for model, v in gains.items() if v < 0}
    yield share >= 0.9, f"{name} SQNR at least the vendor's: {share:.0%} (bar 90 %); below: {less}"
    median = statistics.median(gains.values())
    yield median >= 2.0, f"{name} SQNR over the vendor's, median: {median:+.1f} dB (bar +2)"
    near = {model: round(v) for model, v in values("unexplained").items() if v < 25}
    yield (
        not near,
        f"{name} conversion not 25 dB above quantization, nor within rounding: {near or 'none'}",
    )
    large = {model: round(v, 3) for model, v in values("size").items() if v > 0.27}
    yield not large, f"{name} size above 0.27 x fp32: {large or 'none'}"
