"""What a failing part is kept as: a program, its arrays, and a script without edgekit."""

from __future__ import annotations

from pathlib import Path
from string import Template

import numpy as np

from edgekit import registry
from edgekit.passes.legalization import legalize
from edgekit.program import Program
from edgekit.quiet import quiet
from edgekit.recipe import Recipe

_SCRIPT = Template('''\
"""What the converter to $format makes of model.pt2, without edgekit.

With edgekit:
    edgekit convert model.pt2 --to $format --recipe $recipe --input-data inputs.npz
"""

import numpy as np
import torch

program = torch.export.load("model.pt2")
inputs = dict(np.load("inputs.npz"))
expected = dict(np.load("expected.npz"))

$convert
for name, want in expected.items():
    got = np.asarray(outputs[name])
    error = np.abs(got.astype(np.float64) - want.astype(np.float64)).max(initial=0)
    print(f"{name}: {got.dtype}{list(got.shape)}, largest error {error:.3g}")
''')


def write(part: Program, format_name: str, recipe: Recipe, folder: Path) -> None:
    """Write a part of a program, in the operators that the format's converter is given."""
    import torch

    module = registry.load("formats", format_name)
    folder.mkdir(parents=True)
    np.savez(folder / "inputs.npz", allow_pickle=False, **part.samples[0])
    np.savez(folder / "expected.npz", allow_pickle=False, **part.references[0])
    exported = part.exported
    if hasattr(module, "accepts"):
        exported = legalize(exported, format_name, module.accepts)
    if hasattr(module, "REPRODUCE"):
        convert = Template(module.REPRODUCE).substitute(precision=recipe.activations.upper())
        script = _SCRIPT.substitute(format=format_name, recipe=recipe.name, convert=convert)
        (folder / "reproduce.py").write_text(script)
    with quiet():
        torch.export.save(exported, folder / "model.pt2")
