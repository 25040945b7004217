"""Convert the zoo and the sample models to Core ML and verify each in the reference runtime.

    python scripts/coreml_zoo.py             all models, in both recipes
    python scripts/coreml_zoo.py NAME ...    these only; what is known of the others stays
    python scripts/coreml_zoo.py --failed    those that are missing or not verified
    python scripts/coreml_zoo.py --write     none: write what is known into the page

Figures are kept in build/coreml_zoo.json, and the section "Models" of docs/coreml-reference.md is
written from them.  Returns 1 when a model that was converted is not verified.
"""

from __future__ import annotations

import argparse
import gc
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
import torch  # noqa: E402 - the path comes first

import edgekit  # noqa: E402 - the path comes first
from edgekit import metrics  # noqa: E402
from edgekit.conversion import FormatResult  # noqa: E402
from edgekit.program import Program  # noqa: E402
from edgekit.reports import decibels  # noqa: E402
from tests.conformance.zoo import ZOO, build  # noqa: E402

SAMPLES = {
    path.stem: path for path in sorted((ROOT / "sample_models").glob("*.py"))
    if path.stem != "sample_data"
}  # fmt: skip
RECIPES = ("fp32", "fp16")
STORE = ROOT / "build" / "coreml_zoo.json"
PAGE = ROOT / "docs" / "coreml-reference.md"
MARKS = ("<!-- models: scripts/coreml_zoo.py -->", "<!-- end of models -->")
Rows = dict[str, dict[str, dict[str, Any]]]  # by model, then by recipe

HEAD = """
## Models

Written by `python scripts/coreml_zoo.py`. Each model is converted in both recipes and run here;
the figure is the lowest SQNR of any output against eager PyTorch, on the example inputs and two
variations of them. The fp16 program is also computed in float32 arithmetic, so that what is left of
its error is that of its float16 weights. The last column is PyTorch itself, in float32 with its
weights rounded to float16: a model that loses that much by itself is not to be had any better.
Zoo models have seeded random weights, and some amplify any error by 30 dB and more.

"""


def main() -> int:
    """Convert, verify, store and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--failed", action="store_true", help="only what is not verified yet")
    parser.add_argument("--write", action="store_true", help="convert nothing, write the page")
    parser.add_argument("names", nargs="*", help="models; default: all")
    chosen = parser.parse_args()
    rows: Rows = json.loads(STORE.read_text()) if STORE.exists() else {}
    names = chosen.names or [*SAMPLES, *ZOO]
    if chosen.failed:
        names = [name for name in names if not _verified(rows.get(name, {}))]
    for name in [] if chosen.write else names:
        rows[name] = measure(name)
        print(_row(name, rows[name]), flush=True)
        STORE.parent.mkdir(exist_ok=True)
        STORE.write_text(json.dumps(rows, indent=1))
        gc.collect()
    write(rows)
    wrong = [name for name, row in rows.items() if _wrong(row)]
    print(f"{sum(map(_verified, rows.values()))} of {len(rows)} verified; wrong: {wrong or 'none'}")
    return int(bool(wrong))


def measure(name: str) -> dict[str, dict[str, Any]]:
    """Return what became of one model, by recipe."""
    source: Any = (str(SAMPLES[name]),) if name in SAMPLES else build(name)
    figure = eager(edgekit.export(*source))
    found: dict[str, dict[str, Any]] = {"torch": {"status": "passed", "sqnr_db": figure}}
    for recipe in RECIPES:
        try:
            with tempfile.TemporaryDirectory() as folder:
                report = edgekit.convert(
                    *source, formats=["coreml"], recipe=recipe, output_dir=folder
                )
            found[recipe] = _figures(report.results[0])
        except edgekit.EdgekitError as error:
            found[recipe] = {"status": "no program", "reason": error.message}
    return found


def eager(program: Program) -> float:
    """Return the lowest SQNR of PyTorch itself when only the weights are rounded to float16."""
    module, figures = program.exported.module(), []
    state = [each for each in module.state_dict().values() if each.is_floating_point()]
    exact = [each.clone() for each in state]
    with torch.no_grad():
        for each in state:
            each.copy_(each.half())
        for sample, reference in zip(program.samples, program.references, strict=True):
            result = module(**{name: torch.from_numpy(array) for name, array in sample.items()})
            figures += [
                metrics.compare(want, result[name].numpy()).sqnr_db
                for name, want in reference.items()
                if want.dtype.kind == "f"
            ]
        for each, value in zip(state, exact, strict=True):
            each.copy_(value)
    return min(figures)


def _figures(result: FormatResult) -> dict[str, Any]:
    verdict = result.verification
    if verdict is None:
        assert result.error is not None
        return {"status": "no program", "reason": result.error.message}
    return {
        "status": verdict.status,
        "reason": verdict.reason,
        "sqnr_db": verdict.sqnr_db,
        "float32_sqnr_db": verdict.float32_sqnr_db,
    }


def _verified(row: dict[str, dict[str, Any]]) -> bool:
    return bool(row) and all(each["status"] == "passed" for each in row.values())


def _wrong(row: dict[str, dict[str, Any]]) -> bool:
    return any(each["status"] == "failed" for each in row.values())


def _row(name: str, row: dict[str, dict[str, Any]]) -> str:
    figures = (row["fp16"].get("float32_sqnr_db"), row["torch"]["sqnr_db"])
    cells = [*(_cell(row[recipe]) for recipe in RECIPES), *map(decibels, figures)]
    return f"| {name} | {' | '.join(cells)} |"


def _cell(found: dict[str, Any]) -> str:
    said = {"failed": "failed: ", "not_run": "not run: "}
    if found["status"] == "passed":
        return decibels(found["sqnr_db"])
    if found.get("sqnr_db") is not None:
        return f"{decibels(found['sqnr_db'])}, failed"
    reason = found["reason"].replace("|", "\\|").rstrip(".")
    return f"{said.get(found['status'], 'not converted: ')}{reason}"


def write(rows: Rows) -> None:
    """Put the section between its marks, at the end of the page when it is not there yet."""
    order = [name for name in (*SAMPLES, *ZOO) if name in rows]
    table = [
        "| model | fp32 | fp16 | fp16 in float32 arithmetic | PyTorch, float16 weights |",
        "|-|-|-|-|-|",
    ]
    table += [_row(name, rows[name]) for name in order]
    verified = sum(_verified(rows[name]) for name in order)
    in_fp32 = sum(rows[name]["fp32"]["status"] == "passed" for name in order)
    count = f"{in_fp32} of {len(order)} models are verified in fp32, {verified} in fp16 as well.\n"
    missing = [name for name in (*SAMPLES, *ZOO) if name not in rows]
    if missing:
        count += f"Not measured yet: {', '.join(missing)}.\n"
    text = f"{HEAD}{count}\n" + "\n".join(table) + "\n\n"
    page = PAGE.read_text()
    if MARKS[0] not in page:
        page += f"\n{MARKS[0]}\n{MARKS[1]}\n"
    pattern = re.compile(f"(?<={re.escape(MARKS[0])}\n).*?(?={re.escape(MARKS[1])})", re.DOTALL)
    PAGE.write_text(pattern.sub(lambda _: text, page))


if __name__ == "__main__":
    sys.exit(main())
