"""Quantization of an exported program: calibrate once, lower to every format.

`edgekit.quantize.static` turns a float program into a quantized one, with torchao's PT2E flow and
the annotation in `edgekit.quantize.quantizer`; `edgekit.quantize.calibration` reads the data; each
format asks `edgekit.quantize.dialects` for the form that its converter takes.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.recipe import Recipe


@dataclass(frozen=True)
class Quantization:
    """How a program was quantized, and what that cost.

    Attributes:
        calibration: Where the calibration data came from; ``random`` when it was made up, None when
            weights alone are quantized, which takes none.
        samples: How many input sets were used.
        method: How ranges were found from them; None without them.
        sqnr_db: Lowest SQNR of any output of the quantized graph against the float model, over the
            samples that verification runs.
        notes: What was odd in the data or the ranges, one sentence each.
        rounding_db: Lowest SQNR between two equally right computations of the quantized graph; see
            `edgekit.quantize.rounding`.
    """

    calibration: str | None
    samples: int
    method: str | None
    sqnr_db: float
    notes: tuple[str, ...] = ()
    rounding_db: float = math.inf

    @property
    def told(self) -> str:
        """One sentence for every report."""
        if self.calibration is None:
            return "quantized without calibration data: weights alone"
        if self.calibration == "training":
            return f"ranges found while training, on {self.samples} batches"
        if self.calibration == RANDOM:
            return (
                f"calibrated on {self.samples} RANDOM inputs: accuracy on real data is unknown, "
                "use this for timing only"
            )
        return f"calibrated on {self.samples} samples of {self.calibration}"

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> Quantization:
        """Rebuild from `to_json`."""
        return Quantization(**{**data, "notes": tuple(data["notes"])})


def prepare_qat(module: Any, example_inputs: Any, recipe: str | Path | Recipe = "int8") -> Any:
    """Return a copy of a module to fine-tune with quantization simulated.

    Args:
        module: The trained module.
        example_inputs: Arguments of one call: a tuple, or a dict by argument name.
        recipe: A static recipe, overrides included.

    Returns:
        A module that is called and trained like the one given; `edgekit.convert` takes it, with the
        same recipe and without calibration data.

    Raises:
        UsageError: the recipe is not static.
    """
    from edgekit.quantize import training
    from edgekit.recipe import load_recipe

    chosen = load_recipe(recipe)
    if not chosen.is_static:
        raise UsageError(
            f"Recipe {chosen.name} quantizes no activations, so there is nothing to train for.",
            "Give a static recipe, as int8.",
        )
    return training.prepare(module, example_inputs, chosen)


RANDOM = "random"  # what to give as calibration data to do without
