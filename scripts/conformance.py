"""Run edgekit, and the vendors' own converters, over suites of cases; write docs/conformance.md.

    python scripts/conformance.py operators                      every format, what was not run yet
    python scripts/conformance.py operators --format onnx --case 'pooling/*'
    python scripts/conformance.py operators --raw                the vendors' converters alone
    python scripts/conformance.py operators --again              what did not pass, once more
    python scripts/conformance.py operators --fresh              from the beginning
    python scripts/conformance.py zoo                            whole models, in the same ways
    python scripts/conformance.py page                           only write the page

What became of each case is kept in build/conformance/, one JSON line per run of a case; the last
one counts.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import statistics
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[0] = str(ROOT)  # in place of this folder: `tests` is a package of the repository
os.environ["PYTHONPATH"] = str(ROOT)  # for the workers

from edgekit import worker  # noqa: E402 - the path comes first
from edgekit.clock import CONVERTER  # noqa: E402
from edgekit.errors import ConversionError  # noqa: E402

FORMATS = ("onnx", "tflite", "coreml")
ENDS = ("passed", "wrong", "broken", "refused", "crashed")
SUITES = ("zoo", "operators")
BATCH = {"operators": 250, "zoo": 1}  # cases that one process takes before a fresh one follows
LIMIT = {"operators": 120.0, "zoo": 900.0}  # seconds for one case
BUILD = ROOT / "build" / "conformance"
PAGE = ROOT / "docs" / "conformance.md"
Record = dict[str, Any]
Results = dict[str, dict[str, Record]]  # by format, then by case


def main() -> int:
    """Do what is asked for."""
    chosen = parse()
    if chosen.verb != "page":
        for format_name in chosen.format or FORMATS:
            run_suite(chosen.verb, format_name, chosen)
    write_page()
    return 0


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    told = {"operators": "one small model per case", "zoo": "published architectures"}
    for name in SUITES:
        suite = verbs.add_parser(name, help=told[name])
        suite.add_argument("--format", choices=FORMATS, action="append")
        suite.add_argument("--case", default="*", metavar="GLOB")
        suite.add_argument("--raw", action="store_true", help="the vendors' converters, not ours")
        suite.add_argument("--again", action="store_true", help="run what did not pass again")
        suite.add_argument("--fresh", action="store_true", help="forget earlier results")
    verbs.add_parser("page", help="write docs/conformance.md of the results there are")
    return parser.parse_args(arguments)


# -- Running ---------------------------------------------------------------------------------------


def run_suite(suite_name: str, format_name: str, chosen: argparse.Namespace) -> None:
    """Run the cases of one suite and format that are asked for and have no result yet."""
    from tests.conformance.running import suite

    path = results_path(suite_name, format_name, raw=chosen.raw)
    path.parent.mkdir(parents=True, exist_ok=True)
    if chosen.fresh:
        path.unlink(missing_ok=True)
    known = read(path)
    done = {n for n, each in known.items() if each["end"] == "passed" or not chosen.again}
    names = fnmatch.filter(suite(suite_name), chosen.case)
    if chosen.case == "*":
        names = [name for name in names if name not in done]
    names.sort(key=lambda name: zlib.crc32(name.encode()))  # all families from the beginning
    while names:
        batch, names = names[: BATCH[suite_name]], names[BATCH[suite_name] :]
        names = [*run_batch(suite_name, batch, format_name, path, raw=chosen.raw), *names]
        ends = Counter(each["end"] for each in read(path).values())
        print(f"{format_name}: {dict(ends)}, {len(names)} to go", flush=True)


def run_batch(
    suite_name: str, names: list[str], format_name: str, path: Path, *, raw: bool
) -> list[str]:
    """Run cases in one process; note the one that ends it, and return those behind it."""
    before = len(lines(path))
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        log = Path(folder) / "worker.log"
        started = worker.start(log, temporary=Path(folder))
        limit = LIMIT[suite_name]
        request = {"suite_name": suite_name, "names": names, "format_name": format_name}
        request |= {"raw": raw, "results": str(path), "seconds": limit}
        try:
            worker.call(
                started,
                "tests.conformance.running:run_batch",
                request,
                timeout=limit * len(names),
            )
        except ConversionError as error:
            done = len(lines(path)) - before
            told = log.read_text(errors="replace")
            late = "Timeout (" in told
            reason = f"It was stopped after {limit:g} s." if late else error.message
            record = {"case": names[done], "format": format_name, "end": "crashed"}
            record |= {"operators": [], "reason": reason, "code": "time_limit" if late else "crash"}
            with path.open("a") as file:
                file.write(json.dumps(record) + "\n")
            return names[done + 1 :]
    return []


def results_path(suite_name: str, format_name: str, *, raw: bool) -> Path:
    """Return where the results of a suite are kept."""
    return BUILD / f"{suite_name}-{'raw' if raw else 'edgekit'}-{format_name}.jsonl"


def lines(path: Path) -> list[str]:
    """Return the lines of a file that may not be there yet."""
    return path.read_text().splitlines() if path.exists() else []


def read(path: Path) -> dict[str, Record]:
    """Return the last record of each case."""
    return {record["case"]: record for record in map(json.loads, lines(path))}


# -- The page --------------------------------------------------------------------------------------

HEAD = """# Conformance

Written by `python scripts/conformance.py`; do not edit.

Each case is converted in recipe `fp32`, executed, and compared with PyTorch on three sets of
inputs: at least 80 dB SQNR, integers equal. Core ML is executed by edgekit's reference runtime.

- **passed**: converted, executed and equal.
- **wrong**: converted and executed, and not equal. edgekit does not deliver such a file.
- **broken**: converted, but the runtime does not open or execute it.
- **refused**: the converter gives an error.
- **crashed**: the converter's process died, or was stopped after {limit:g} s, a whole model after
  {model_limit:g} s.

"vendor" is the vendor's converter called as its documentation shows, without edgekit, and judged
in the same runtimes: `torch.onnx.export(..., dynamo=True)`, `litert_torch.convert`,
`coremltools.convert` of `run_decompositions({{}})`.

Versions: {versions}.
"""


def write_page() -> None:
    """Write docs/conformance.md of all results there are."""
    from edgekit.formats import versions

    packages = ("torch", "onnxscript", "onnxruntime", "litert-torch", "ai-edge-litert")
    told = ", ".join(f"{k} {v}" for k, v in versions(*packages, "coremltools").items())
    limits = {"limit": LIMIT["operators"], "model_limit": LIMIT["zoo"]}
    parts = [HEAD.format(**limits, versions=told), models_section(), operators_section()]
    PAGE.write_text("\n".join(parts))


def results_of(suite_name: str) -> tuple[Results, Results]:
    """Return the last records of each case that still exists, by format: ours and the vendors'."""
    from tests.conformance.running import suite

    def found(*, raw: bool) -> Results:
        return {
            f: only(read(results_path(suite_name, f, raw=raw)), suite(suite_name)) for f in FORMATS
        }

    return found(raw=False), found(raw=True)


def models_section() -> str:
    """Return the part of the page about whole models."""
    ours, raw = results_of("zoo")
    return "\n".join(
        [
            "## Models",
            "",
            "Published architectures with seeded random weights: `tests/conformance/zoo.py`.",
            "",
            *totals(ours, raw),
            "",
            "Each cell: the lowest SQNR of any output; operators in the file, constants left out.",
            "",
            *models(ours, raw),
            "",
            "What edgekit's passes cost, as a share of the vendor's converter in the same process.",
            "`functionalize` is apart: it does once, for all formats, what converters begin with;",
            "torch.onnx then leaves it out, and coremltools asks its callers for it.",
            "",
            *costs(ours),
            "",
        ]
    )


def models(ours: Results, raw: Results) -> list[str]:
    """Return the table of models."""
    from tests.conformance.running import suite

    table = [["model", *(f"{f}: {who}" for f in FORMATS for who in ("edgekit", "vendor"))]]
    for name in suite("zoo"):
        cells = [model(who[f].get(name)) for f in FORMATS for who in (ours, raw)]
        table.append([name, *cells])
    return markdown(table)


def model(record: Record | None) -> str:
    """Return what became of one model, in one cell."""
    if record is None:
        return ""
    if record["end"] != "passed":
        return f"**{record['end']}**"
    return f"{float(record['sqnr_db']):.0f} dB; {record['size']}"


def costs(ours: Results) -> list[str]:
    """Return the table of passes' times as shares of the converter's, over all models."""
    head = ["median", "most", "of the pass", "in the model"]
    table = [["format", "models", *head, "`functionalize`, median"]]
    for format_name, records in ours.items():
        timed = {n: r["parts"] for n, r in records.items() if CONVERTER in r.get("parts", {})}
        if not timed:
            continue
        most = {name: costliest(parts) for name, parts in timed.items()}
        model = max(most, key=lambda name: most[name][0])
        once = statistics.median(p["functionalize"] / p[CONVERTER] for p in timed.values())
        shares = statistics.median(share for share, _ in most.values()), most[model][0]
        row = [format_name, str(len(timed)), *(f"{share:.1%}" for share in shares)]
        table.append([*row, f"`{most[model][1]}`", model, f"{once:.0%}"])
    return markdown(table)


def costliest(parts: dict[str, float]) -> tuple[float, str]:
    """Return what the costliest pass took, as a share of the vendor's converter, and its name."""
    apart = (CONVERTER, "functionalize")
    return max(
        (taken / parts[CONVERTER], name) for name, taken in parts.items() if name not in apart
    )


def operators_section() -> str:
    """Return the part of the page about the operator suite."""
    from tests.conformance.running import suite

    cases = suite("operators")
    ours, raw = results_of("operators")
    operators = {op for each in ours.values() for r in each.values() for op in r["operators"]}
    return "\n".join(
        [
            "## Operators",
            "",
            f"{len(cases)} cases over {len(operators)} operators: `tests/conformance/operators/`.",
            "",
            *totals(ours, raw),
            "",
            "### By family",
            "",
            "Cases that pass, of those that ran; edgekit / vendor.",
            "",
            *families(ours, raw),
            "",
            "### What does not pass",
            "",
            *failures(ours),
            "",
        ]
    )


def only(records: dict[str, Record], cases: Iterable[str]) -> dict[str, Record]:
    """Return the records of cases that still exist."""
    return {name: records[name] for name in sorted(cases) if name in records}


def totals(ours: Results, raw: Results) -> list[str]:
    """Return the table of how cases ended."""
    table = [["format", "by", "cases", *ENDS]]
    for format_name in FORMATS:
        for who, results in (("edgekit", ours), ("vendor", raw)):
            counts = Counter(each["end"] for each in results[format_name].values())
            row = [format_name, who, counts.total(), *(counts[end] for end in ENDS)]
            table.append(list(map(str, row)))
    return markdown(table)


def families(ours: Results, raw: Results) -> list[str]:
    """Return the table of cases that pass, by family."""
    names = sorted({name.partition("/")[0] for each in ours.values() for name in each})
    table = [["family", *(f"{f}: {who}" for f in FORMATS for who in ("edgekit", "vendor"))]]
    for family in names:
        row = [family]
        for format_name in FORMATS:
            for results in (ours, raw):
                members = [
                    r["end"] for n, r in results[format_name].items() if n.startswith(f"{family}/")
                ]
                row.append(f"{members.count('passed')}/{len(members)}" if members else "")
        table.append(row)
    return markdown(table)


def failures(ours: Results) -> list[str]:
    """Return the table of edgekit's failures, each with its reason code and sentence."""
    table = [["case", "format", "ended", "code", "reason"]]
    for format_name in FORMATS:
        for name, record in ours[format_name].items():
            if record["end"] != "passed":
                reason = record["reason"].replace("|", "\\|").replace("\n", " ")
                table.append([name, format_name, record["end"], record["code"], reason])
    return markdown(table) if len(table) > 1 else ["Nothing."]


def markdown(table: list[list[str]]) -> list[str]:
    """Return a table, whose first row is its head, as lines of Markdown."""
    rows = [f"| {' | '.join(row)} |" for row in table]
    return [rows[0], "|" + "---|" * len(table[0]), *rows[1:]]


if __name__ == "__main__":
    sys.exit(main())
