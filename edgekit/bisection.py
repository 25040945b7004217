"""Find the smallest part of a model that a format fails on, and keep it as a reproducer.

::

    [ all steps ]  ─ halve from the end ─▶  [ up to the first that fails ]
                   ─ grow from there backwards ─▶  [ the few that fail on their own ]

Every attempt converts and verifies a part in a process of its own, as the whole was.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit import delivery, registry
from edgekit.errors import ConversionError, EdgekitError
from edgekit.plan import SCHEMA_VERSION
from edgekit.verification import FAILED, Verification
from edgekit.workshop import Workshop, call

Fails = Callable[[range], str]  # why some steps fail on their own; empty when they do not


@dataclass(frozen=True)
class Reproducer:
    """The smallest part found that fails.

    Attributes:
        path: Folder with the part (``model.pt2``), arrays (``inputs.npz``, ``expected.npz``), a
            script without edgekit (``reproduce.py``) and this record (``reproducer.json``).
        operators: What the part computes, one operator each, with shapes and the user's line.
        reason: Why it fails.
    """

    path: Path
    operators: tuple[str, ...]
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {**vars(self), "path": str(self.path), "operators": list(self.operators)}


def find(shop: Workshop, name: str, stem: str) -> Reproducer | None:
    """Look for the part that a format fails on; None where no part of fixed shapes fails.

    Args:
        shop: The run in which the whole failed; its program is still there.
        name: The format.
        stem: Of the folder's name, beside the artifacts.
    """
    shop.progress(name, "bisecting")
    count = call(shop, name, "count_steps", {"folder": str(shop.program)}).value
    tried: dict[range, str] = {}

    def fails(steps: range) -> str:
        if steps not in tried:
            shop.progress(name, f"bisecting: {len(steps)} of {count} operators")
            tried[steps] = _attempt(shop, name, steps)
        return tried[steps]

    found = smallest(fails, count)
    if found is None:
        return None
    draft = shop.drafts / f"{stem}.{name}.reproducer"
    request = {
        "folder": str(shop.program),
        "format_name": name,
        "recipe": shop.plan.recipe.to_json(),
        "steps": list(found),
        "destination": str(draft),
    }
    operators = call(shop, name, "keep_part", request).value
    placed = Reproducer(shop.plan.output_dir / draft.name, tuple(operators), tried[found])
    record = {"schema_version": SCHEMA_VERSION, "format": name, **placed.to_json()}
    record |= {
        "recipe": shop.plan.recipe.name,
        "toolchain": registry.load("formats", name).toolchain(),
    }
    (draft / "reproducer.json").write_text(json.dumps(record, indent=2) + "\n")
    delivery.move(draft, placed.path)
    return placed


def smallest(fails: Fails, count: int) -> range | None:
    """Return the shortest run of steps found that fails on its own; None where all of them pass.

    It takes about twice the binary logarithm of `count` attempts, since what fails is taken to
    fail with more around it as well.  Where that is not so the result still fails, and may be
    longer than need be.
    """
    if not fails(range(count)):
        return None
    passing, failing = 0, count  # numbers of steps from the start
    while failing - passing > 1:
        middle = (passing + failing) // 2
        if fails(range(middle)):
            failing = middle
        else:
            passing = middle
    end, width = failing, 1
    while width < end and not fails(range(end - width, end)):
        width *= 2
    longest, shortest = min(width, end), width // 2 + 1
    while shortest < longest:
        middle = (shortest + longest) // 2
        if fails(range(end - middle, end)):
            longest = middle
        else:
            shortest = middle + 1
    return range(end - longest, end)


def _attempt(shop: Workshop, name: str, steps: range) -> str:
    """Convert and verify some steps; return why that fails."""
    folder = shop.temporary / "part"
    shutil.rmtree(folder, ignore_errors=True)
    suffix: str = registry.load("formats", name).SUFFIXES[0]
    draft = folder / f"part{suffix}"
    request = {
        "folder": str(shop.program),
        "format_name": name,
        "recipe": shop.plan.recipe.to_json(),
        "options": shop.plan.options[name],
        "steps": list(steps),
        "part": str(folder / "program"),
        "draft": str(draft),
    }
    try:
        verdict = Verification.from_json(call(shop, name, "build_part", request).value)
    except EdgekitError as error:
        return error.message if isinstance(error, ConversionError) else ""
    return verdict.reason if verdict.status == FAILED else ""
