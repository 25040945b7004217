"""Seeded damage to an ``.mlpackage``, and what the reference runtime makes of it."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgekit.errors import EdgekitError
from edgekit.runtimes import Arrays, open_session

SPEC = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"
MANIFEST = "Manifest.json"


def corrupt(package: Path, target: Path, seed: int) -> str:
    """Copy `package` to `target`, damage the copy, and say how."""
    dice = random.Random(seed)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(package, target)
    name = dice.choices([SPEC, WEIGHTS, MANIFEST], weights=[6, 2, 2])[0]
    name = name if (target / name).exists() else SPEC  # small weights stand in the program
    kinds: list[Callable[[bytearray, random.Random], bytearray]] = [_flip, _flip, _cut, _blank]
    if name == MANIFEST:
        kinds.append(_redirect)
    kind = dice.choice(kinds)
    path = target / name
    path.write_bytes(kind(bytearray(path.read_bytes()), dice))
    return f"seed {seed}: {kind.__name__[1:]} {path.name}"


def outcome(path: Path, feeds: Arrays, sound: Arrays) -> str:
    """Open and run a damaged package: "refused", "different" or "unaffected".

    Any other exception than EdgekitError is a bug, and propagates.
    """
    try:
        with open_session(path, "coreml", runtime="mil") as session:
            if set(feeds) != {spec.name for spec in session.signature.inputs}:
                return "different"
            values = session.run(feeds)
    except EdgekitError:
        return "refused"
    same = set(values) == set(sound) and all(
        np.array_equal(values[name], sound[name], equal_nan=True) for name in sound
    )
    return "unaffected" if same else "different"


def _flip(data: bytearray, dice: random.Random) -> bytearray:
    for _ in range(dice.choice([1, 1, 2, 8, 64])):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return data


def _cut(data: bytearray, dice: random.Random) -> bytearray:
    start = dice.randrange(len(data))
    return data[:start] if dice.random() < 0.7 else data[:start] + data[start + 64 :]


def _blank(data: bytearray, dice: random.Random) -> bytearray:
    start, size = dice.randrange(len(data)), dice.choice([1, 4, 16, 256])
    for place in range(start, min(start + size, len(data))):
        data[place] = dice.choice([0x00, 0xFF])
    return data


def _redirect(data: bytearray, dice: random.Random) -> bytearray:
    """Point the manifest out of the package."""
    manifest = json.loads(data)
    outside = ["/etc/passwd", "../../../etc/passwd", "com.apple.CoreML/../../..", "", "a\0b", ".."]
    for entry in manifest["itemInfoEntries"].values():
        entry["path"] = dice.choice(outside)
    return bytearray(json.dumps(manifest).encode())
