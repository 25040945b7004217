"""The self-check in a package: a few arguments, and what the model made of them here.

Every wrapper repeats it: arguments through preprocessing, the model and postprocessing.  Arguments
are kept whole; of each tensor there are `PROBES` values at most, evenly spaced, as float64, so that
one short reader serves every language.  All numbers are little-endian, one after another in one
file, and the manifest holds the table of what lies where.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit.artifact import Artifact
from edgekit.processing.binding import Bound, finish, prepare
from edgekit.processing.schema import Step
from edgekit.runtimes import Array, Arrays, open_session

SAMPLES = 3
PROBES = 64
INPUT_BOUND = 1e-6
"""Largest error of a prepared input, as a share of its largest magnitude, or of 1."""
FILE_NAME = "selfcheck.bin"


@dataclass(frozen=True)
class SelfCheck:
    """The table and the numbers.

    Attributes:
        table: One entry for each sample: ``arguments``, ``inputs`` and ``outputs``, each a list of
            tables with ``name`` and ``offset``; and ``best``, the first class by result.
        data: The file that offsets point into.
    """

    table: list[dict[str, Any]]
    data: bytes


def record(artifact: Artifact, bound: Bound) -> SelfCheck:
    """Run the artifact on seeded arguments in the best runtime here, and keep what came of it."""
    bound_of_peak = artifact.made_by.tolerance.max_abs_of_peak
    random = np.random.RandomState(0)
    data = bytearray()
    table = []
    with open_session(artifact.path, artifact.format) as session:
        for _ in range(SAMPLES):
            arguments = {step.name: example(step, random) for step in bound.before}
            feeds = prepare(bound, arguments)
            outputs = session.run(feeds)
            table.append(
                {
                    "arguments": [_argument(step, arguments, data) for step in bound.before],
                    "inputs": [_probe(name, feeds, INPUT_BOUND, data) for name in feeds],
                    "outputs": [_probe(name, outputs, bound_of_peak, data) for name in outputs],
                    "best": _best(bound, outputs),
                }
            )
    return SelfCheck(table, bytes(data))


def word_file(step: Step) -> str:
    """Return the name of the file that holds the vocabulary of a step."""
    return f"{step.name}_words.txt"


def words_of(step: Step) -> bytes:
    """Return the vocabulary of a step, a word a line."""
    return "".join(f"{word}\n" for word in step.options["vocabulary"]).encode()


def example(step: Step, random: np.random.RandomState) -> Any:
    """Return a plausible argument of a step; the generator's stream is the same everywhere."""
    return _EXAMPLES[step.kind](step.options, random)


def _picture(options: Mapping[str, Any], random: np.random.RandomState) -> Array:
    shape = options["shape"][1:3] if options["layout"] == "nhwc" else options["shape"][2:4]
    if options["resize"] != "none" or options["crop"]:
        shape = tuple(int(size * random.uniform(1.1, 2.0)) + 1 for size in shape)
    corners = random.randint(0, 256, (2, 2, 3)).astype(np.float64)
    down, right = (np.linspace(0, 1, size) for size in shape)
    rows = corners[0] + (corners[1] - corners[0]) * down[:, None, None]
    smooth = rows[:, :1] + (rows[:, 1:] - rows[:, :1]) * right[:, None]
    noise = random.randint(-40, 41, smooth.shape)
    pixels: Array = np.rint(smooth + noise).clip(0, 255).astype(np.uint8)
    return pixels


def _sound(options: Mapping[str, Any], random: np.random.RandomState) -> Array:
    times = np.arange(options["samples"]) / options["sample_rate"]
    pitch = random.uniform(100, 0.4 * options["sample_rate"])
    tone = np.sin(2 * np.pi * pitch * times) * random.uniform(0.1, 0.7)
    sound: Array = (tone + random.uniform(-0.1, 0.1, len(times))).astype(np.float32)
    return sound


def _text(options: Mapping[str, Any], random: np.random.RandomState) -> str:
    count = random.randint(1, options["length"] + 3)
    chosen = random.randint(0, len(options["vocabulary"]), count)
    return " ".join(options["vocabulary"][place] for place in chosen)


def _numbers(options: Mapping[str, Any], random: np.random.RandomState) -> Array:
    shape = options["shape"]
    if np.dtype(options["dtype"]).kind != "f":
        return np.asarray(random.randint(0, 2, shape), np.int64)
    return np.asarray(random.normal(size=shape) * options["divide_by"], np.float32)


_EXAMPLES = {"image": _picture, "log_mel": _sound, "tokens": _text, "tensor": _numbers}


def _argument(step: Step, arguments: Mapping[str, Any], data: bytearray) -> dict[str, Any]:
    value = arguments[step.name]
    if isinstance(value, str):
        dtype, shape, content = "text", (), value.encode()
    else:
        dtype, shape = value.dtype.name, value.shape
        content = value.astype(value.dtype.newbyteorder("<")).tobytes()
    place = _append(data, content)
    return {
        "name": step.name,
        "dtype": dtype,
        "shape": list(shape),
        "offset": place,
        "bytes": len(content),
    }


def _probe(name: str, arrays: Arrays, bound_of_peak: float, data: bytearray) -> dict[str, Any]:
    flat = arrays[name].reshape(-1).astype(np.float64)
    stride = -(-len(flat) // PROBES)
    peak = float(np.abs(flat).max(initial=0))
    floor = 1.0 if bound_of_peak == INPUT_BOUND else 0.0
    return {
        "name": name,
        "size": len(flat),
        "stride": stride,
        "bound": bound_of_peak * max(peak, floor),
        "offset": _append(data, flat[::stride].astype("<f8").tobytes()),
    }


def _best(bound: Bound, outputs: Arrays) -> dict[str, int]:
    """Return the first class of each result, where it leads by more than a runtime may change."""
    results = finish(bound, outputs)
    return {
        step.name: results[step.name][0].index
        for step in bound.after
        if step.kind == "classes"
        and len(results[step.name]) > 1
        and results[step.name][0].score - results[step.name][1].score > 0.01
    }


def _append(data: bytearray, content: bytes) -> int:
    data.extend(b"\0" * (-len(data) % 8))
    place = len(data)
    data.extend(content)
    return place
