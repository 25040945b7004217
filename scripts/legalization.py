"""Write docs/legalization.md: which operators are rewritten for which format, and why."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[0] = str(ROOT)

from edgekit.passes.rules import Rule, all_rules  # noqa: E402 - the path comes first

FORMATS = ("onnx", "tflite", "coreml")
HEAD = """# Legalization

Written by `python scripts/legalization.py`; do not edit.

What a format's converter refuses, or computes wrongly, is rewritten before it sees the graph. These
are edgekit's own rules, from `edgekit/passes/rules/`; a cell says what is wrong without one. An
operator that is not here goes to the converter as it is, or by PyTorch's own decomposition.

| operators | rewrite | ONNX | TFLite | Core ML |
|---|---|---|---|---|
"""


def main() -> None:
    """Write the page."""
    page = ROOT / "docs" / "legalization.md"
    page.write_text(HEAD + "".join(map(_row, all_rules())))


def _row(each: Rule) -> str:
    told = (inspect.getdoc(each.rewrite) or "").splitlines()[0]
    operators = ", ".join(f"`{name}`" for name in each.operators)
    why = " | ".join(each.why.get(name, "") for name in FORMATS)
    return f"| {operators} | {told} | {why} |\n"


if __name__ == "__main__":
    main()
