"""Artifacts of one program in several recipes, timed and weighed beside the float one."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import registry, runtimes
from edgekit.artifact import measured
from edgekit.quantize import static
from edgekit.quantize.calibration import CalibrationData
from edgekit.quantize.fit.within import Trial
from edgekit.recipe import Recipe, load_recipe
from edgekit.verification import feeds_for

if TYPE_CHECKING:
    from edgekit.program import Program
    from edgekit.tensors import Signature

Lower = Callable[["Program", Recipe, Path], "Signature"]
_SECONDS, _BURST = 2.0, 3
_SAMPLES = 2  # that ranges are found on for the while: time and size do not depend on them


def tells_time(format_name: str) -> bool:
    """Whether a runtime is here whose times for a format mean anything."""
    found = runtimes.available(format_name)
    return bool(found) and not getattr(registry.load("runtimes", found[0]), "REFERENCE", False)


class Bench:
    """Makes artifacts and times them beside the float one."""

    def __init__(
        self,
        load: Callable[[], Program],
        data: CalibrationData,
        lower: Lower,
        format_name: str,
        folder: Path,
    ) -> None:
        """Make the float artifact.

        Args:
            load: Gives the float program, anew each time.
            data: Calibration data.
            lower: Writes a program in a recipe as a file of the format.
            format_name: The format.
            folder: Where to put files for the while.
        """
        self._load, self._lower = load, lower
        self._data = replace(data, samples=data.samples[:_SAMPLES])
        self._format, self._folder = format_name, folder
        self._timed = tells_time(format_name)
        self._float, self._bytes = self._made("float", load(), load_recipe("fp32"))
        self.trials: list[Trial] = []

    @property
    def told(self) -> str:
        """What was found so far."""
        return ", ".join(f"{each.told} {each.ratio:.2f}x" for each in self.trials)

    def timed(self, told: str, recipe: Recipe) -> float:
        """Return the time of a recipe's artifact over that of the float one."""
        found = self.tried(told, recipe)
        assert found.ratio is not None
        return found.ratio

    def tried(self, told: str, recipe: Recipe) -> Trial:
        """Make a recipe's artifact; return its time and size over those of the float one."""
        program = self._load()
        if recipe.is_static:
            program = static.quantize(program, recipe, self._data)
        run, size = self._made(told, program, recipe)
        ratio = interleaved(run, self._float) if self._timed else None
        self.trials.append(Trial(told, ratio, size / self._bytes))
        return self.trials[-1]

    def _made(self, told: str, program: Program, recipe: Recipe) -> tuple[Callable[[], Any], int]:
        path = self._folder / f"{told}{registry.load('formats', self._format).SUFFIXES[0]}"
        sample = program.samples[0]
        signature = self._lower(program, recipe, path)
        size: int = measured(path)["size_bytes"]
        if not self._timed:
            return lambda: None, size
        session = runtimes.open_session(path, self._format)
        feeds = feeds_for(signature, sample)
        return lambda: session.run(feeds), size


def interleaved(first: Callable[[], Any], second: Callable[[], Any]) -> float:
    """Return the median over turns of the fastest run of a burst of one over the other's."""
    found: list[float] = []
    ends = time.perf_counter() + _SECONDS
    while time.perf_counter() < ends or len(found) < 5:
        found.append(_fastest(first) / _fastest(second))
    return statistics.median(found)


def _fastest(run: Callable[[], Any]) -> float:
    run()
    taken = []
    for _ in range(_BURST):
        started = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started)
    return min(taken)
