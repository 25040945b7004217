"""Biases take back what rounding adds on average."""

from dataclasses import replace

import numpy as np
import torch
from torch import nn

import edgekit
from edgekit.quantize import static
from edgekit.quantize.calibration import CalibrationData
from edgekit.recipe import Calibration, load_recipe

CORRECTED = load_recipe("int8")
PLAIN = replace(CORRECTED, calibration=Calibration("min_max", correct_bias=False))


class Shifted(nn.Module):
    """Depthwise weights that all lie on the same side of the next integer."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.pointwise = nn.Conv2d(4, 3, 1)
        step = 1 / 127
        weight = torch.randint(-40, 40, (4, 1, 3, 3), generator=generator) * step + 0.45 * step
        weight[:, :, 1, 1] = 1.0
        self.depthwise.weight.data = weight

    def forward(self, image):
        return self.pointwise(torch.relu(self.depthwise(image)))


def test_the_mean_of_the_outputs_comes_nearer_to_the_float_models():
    torch.manual_seed(0)
    samples = [{"image": each} for each in torch.rand(8, 1, 4, 16, 16).numpy()]
    module = Shifted().eval()
    program = edgekit.export(module, (torch.from_numpy(samples[0]["image"]),))
    data = CalibrationData(tuple(samples), "test", ())
    wanted = mean_of(program, samples)
    plain, corrected = (
        np.abs(mean_of(static.quantize(program, recipe, data), samples) - wanted).max()
        for recipe in (PLAIN, CORRECTED)
    )
    assert corrected < plain / 3


def mean_of(program, samples):
    module = program.exported.module(check_guards=False)
    with torch.no_grad():
        results = [module(image=torch.from_numpy(each["image"])) for each in samples]
    return torch.stack([*(next(iter(r.values())) for r in results)]).mean((0, 1, 3, 4)).numpy()
