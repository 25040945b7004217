"""The bars of static int8, judged from the records that `scripts/peers.py quantize` keeps.

What they say becomes docs/int8.md.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FORMATS = ("onnx", "tflite")
FASTER = 0.97  # of the float model's time: above, layers in float are tried
WELL_DONE = ("mobilenetv2_w1", "resnet18")  # models that the vendors quantize well
Record = dict[str, Any]
_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")  # colours of a terminal


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


def judged(folder: Path, page: Path, machine: str) -> int:
    """Print one line per model and a verdict per bar; write the page; return 0 when all are met."""
    records = [json.loads(each.read_text()) for each in sorted(folder.glob("*/record.json"))]
    if not records:
        print("nothing on record yet: name the models to measure")
        return 1
    print(f"\n{len(records)} models; figures are ratios of medians in one interleaved run")
    for record in records:
        print(line(record))
    verdicts = [verdict for name in FORMATS for verdict in bars(records, name)]
    print()
    for met, told in verdicts:
        print(f"{'met' if met else 'NOT MET':8} {told}")
    page.write_text("\n".join(_page(records, verdicts, machine)) + "\n")
    return int(not all(met for met, _ in verdicts))


def _page(records: list[Record], verdicts: list[tuple[bool, str]], machine: str) -> Iterable[str]:
    yield from HEAD.format(machine=machine, faster=FASTER).splitlines()
    for name in FORMATS:
        title = {"onnx": "ONNX", "tflite": "TFLite"}[name]
        yield from ("", f"## {title}", "")
        yield "| model | vendor's | fp32 | SQNR, dB | over vendor's | size | integer | in float |"
        yield "|---|---|---|---|---|---|---|---|"
        yield from (_row(record, name) for record in records)
        yield from (f"\n{told}" for told in _remarks(records, name))
    yield from ("", "## Bars", "", "| bar | met |", "|---|---|")
    yield from (f"| {told} | {'yes' if met else 'no'} |" for met, told in verdicts)


def _row(record: Record, name: str) -> str:
    found = figures(record, name)
    cells = [
        record["model"],
        _told(found["vendor"]),
        _told(found["fp32"]),
        _told(found["sqnr"], ".1f"),
        _told(found["gain"], "+.1f"),
        _told(found["size"], ".3f"),
        _told(found["integer"]),
        ", ".join(record["verdicts"][name].get("slow", ())),
    ]
    return f"| {' | '.join(cells)} |"


def _remarks(records: list[Record], name: str) -> Iterable[str]:
    for record in records:
        verdict = record["verdicts"][name]
        if verdict["status"] != "passed":
            yield f"{record['model']} is not within its tolerance: {verdict['reason']}"
        if verdict.get("slower"):
            yield f"{record['model']}: {verdict['slower']}"
        if name in record["missing"]:
            said = _ESCAPE.sub("", record["missing"][name].splitlines()[0])
            yield f"{record['model']}: the vendor's tool fails: {said}"


HEAD = """\
# Static int8 beside the vendors' tools

Made by `python scripts/peers.py quantize MODEL...`. Each model has seeded random weights, so its
accuracy means nothing, and its SQNR says how much rounding adds. The same calibration data for all,
a conversion for each format; times on one thread, in turns, as ratios of medians. The vendors' are
ONNX Runtime's `quantize_static` on torch.onnx's model, and ai-edge-quantizer's `static_wi8_ai8` on
litert_torch's. Machine: {machine}. Where 8 bits took {faster} of the time of float or more, the
model was made again with `--fast-here`, and the last column names the layers that compute in float
since, most of them with float weights: such a file is larger.

The columns: time over that of the vendor's int8, and of edgekit's fp32; quantization SQNR, and by
how much it is above the vendor's; size over fp32; the share of the computing operators that run in
integers.
"""


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
