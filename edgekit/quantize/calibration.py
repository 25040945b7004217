"""Calibration data: read from what the user has, checked, cut into input sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import UsageError
from edgekit.importing import call_user, import_file, on_path
from edgekit.inputs import read_array, read_samples, split_samples, vary
from edgekit.quantize import RANDOM
from edgekit.quantize.pictures import SUFFIXES, Reader
from edgekit.runtimes import Array, Arrays

_RANDOM_SAMPLES = 32
_POSITIONAL = "arr_"  # what numpy.savez calls an array without a name, with its place
_ASK = (
    "Give an .npz file or a folder with --calibrate, a function as file.py:callable, or "
    "--calibrate random to time a model whose accuracy does not matter."
)


@dataclass(frozen=True)
class CalibrationData:
    """Input sets to find ranges on.

    Attributes:
        samples: One mapping from input name to array each.
        origin: Where they came from, for the record.
        notes: What was odd about them, one sentence each.
    """

    samples: tuple[Arrays, ...]
    origin: str
    notes: tuple[str, ...] = ()


def read(
    given: Any, example: Arrays, origin: str | None = None, pictures: Reader | None = None
) -> CalibrationData:
    """Return the input sets that `given` means.

    Args:
        given: ``random``; the path of an ``.npz`` file, or of a folder of ``.npz``, ``.npy`` or
            picture files; ``file.py:callable``; or an iterable of input sets: dicts by input name,
            or tuples in the order of the inputs.
        example: One input set of the model, for names, shapes and types.
        origin: What to call the data; None for its path.
        pictures: What reads pictures as inputs, for a folder of them.

    Raises:
        UsageError: there is no data, it does not fit the model, or all of it is NaN.
    """
    if isinstance(given, str) and given.lower() == RANDOM:
        return CalibrationData(vary(example, _RANDOM_SAMPLES - 1), RANDOM)
    if isinstance(given, (str, Path)):
        sets, origin = _from_text(str(given), example, pictures), origin or str(given)
    else:
        sets, origin = _from_items(given, example), origin or "memory"
    kept = tuple(each for each in sets if _is_finite(each))
    if not kept:
        raise UsageError(f"The calibration data ({origin}) has no sample without NaN.", _ASK)
    notes = [*_left_out(len(sets) - len(kept)), *_constant_inputs(kept)]
    return CalibrationData(kept, origin, tuple(notes))


def portable(given: Any, folder: Path) -> str | None:
    """Return data in a form that another process reads: data in memory becomes a folder."""
    if given is None or isinstance(given, str):
        return given
    if isinstance(given, Path):
        return str(given)
    place = folder / "calibration"
    place.mkdir()
    for index, item in enumerate([given] if isinstance(given, Mapping) else given):
        if not isinstance(item, Mapping):
            values = item if isinstance(item, (tuple, list)) else (item,)
            item = {f"{_POSITIONAL}{place}": value for place, value in enumerate(values)}
        arrays: dict[str, Any] = _arrays(item)
        np.savez(place / f"{index:06d}.npz", **arrays)
    return str(place)


def _from_text(text: str, example: Arrays, pictures: Reader | None) -> tuple[Arrays, ...]:
    path, _, function = text.partition(":")
    if function and path.endswith(".py"):
        return _from_items(_call(Path(path), function), example)
    folder = Path(text)
    if path.endswith(".py"):
        raise UsageError(f"{text} names no function.", f"Write {path}:callable.")
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    shown = [file for file in files if file.suffix.lower() in SUFFIXES]
    if shown and pictures is not None:
        return split_samples(pictures(shown), example)
    arrays = [file for file in files if file.suffix == ".npy"]
    if not arrays:
        stored = [_by_name(each, example) for each in read_samples(folder)]
        return split_samples(stored, example)
    if len(example) > 1:
        raise UsageError(
            f"{folder} holds .npy files, and the model takes {len(example)} inputs.",
            f"Write .npz files with the arrays {', '.join(example)}.",
        )
    (name,) = example
    return split_samples([{name: read_array(each)} for each in arrays], example)


def _by_name(arrays: Arrays, example: Arrays) -> Arrays:
    """Give arrays that were stored without names those of the inputs, in order."""
    places = {f"{_POSITIONAL}{place}": name for place, name in enumerate(example)}
    return {places.get(name, name): array for name, array in arrays.items()}


def _call(path: Path, function: str) -> Any:
    with on_path(path.absolute().parent):
        found = getattr(import_file(path), function, None)
        if not callable(found):
            raise UsageError(
                f"{path} has no function {function!r}.", "It must return an iterable of input sets."
            )

        def samples() -> Any:  # a generator runs to its end here: what it raises is the user's
            items = found()
            return items if isinstance(items, Mapping) else list(items)

        return call_user(samples, f"{path}:{function}")


def _from_items(items: Any, example: Arrays) -> tuple[Arrays, ...]:
    if isinstance(items, Mapping):
        return split_samples([_arrays(items)], example)
    stored = [_arrays(_named(each, example)) for each in items]
    if not stored:
        raise UsageError("The calibration data is empty.", _ASK)
    return split_samples(stored, example)


def _named(item: Any, example: Arrays) -> Mapping[str, Any]:
    if isinstance(item, Mapping):
        return item
    values = item if isinstance(item, (tuple, list)) else (item,)
    if len(values) != len(example):
        raise UsageError(
            f"A calibration sample has {len(values)} values, and the model takes {len(example)}.",
            f"Give the inputs in the order {', '.join(example)}, or dicts by name.",
        )
    return dict(zip(example, values, strict=True))


def _arrays(item: Mapping[str, Any]) -> Arrays:
    return {
        name: value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
        for name, value in item.items()
    }


def _is_finite(sample: Arrays) -> bool:
    return all(bool(np.isfinite(a).all()) for a in sample.values() if a.dtype.kind == "f")


def _left_out(count: int) -> list[str]:
    return [f"{count} calibration samples hold NaN or infinity and were left out"] if count else []


def _constant_inputs(samples: tuple[Arrays, ...]) -> list[str]:
    def constant(name: str) -> bool:
        first: Array = samples[0][name]
        same = all(np.array_equal(first, each[name]) for each in samples)
        return bool(same and len(samples) > 1)

    return [
        f"the input {name!r} is the same in all {len(samples)} calibration samples"
        for name in samples[0]
        if samples[0][name].dtype.kind == "f" and constant(name)
    ]
