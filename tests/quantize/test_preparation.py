"""Rewrites before anything is observed: the function stays, and kernels know its operators."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import edgekit
from edgekit.quantize import static, weights
from edgekit.quantize.calibration import read
from edgekit.quantize.precisions import base_name
from edgekit.quantize.preparation import prepare
from edgekit.recipe import Override, load_recipe


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "size"),
    [
        ((8, 6), 4, (2, 3), (40, 49)),  # the last columns are read beyond the input
        (16, 16, 0, (64, 64)),  # patches
        ((1, 80), (1, 16), (0, 38), (1, 400)),  # sound
        (7, (4, 1), 3, (33, 33)),  # one axis alone
        (2, 5, 0, (23, 24)),  # a kernel shorter than its steps
        (11, 4, 2, (63, 63)),
    ],
)
def test_long_steps_are_gathered_into_channels(kernel, stride, padding, size) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 8, kernel, stride, padding).eval()
    image = torch.randn(2, 3, *size)
    exported = edgekit.export(layer, (image,)).exported
    prepare(exported, load_recipe("int8"))
    (convolution,) = (n for n in exported.graph.nodes if base_name(n) == "conv2d")
    strides = convolution.args[3] if len(convolution.args) > 3 else (1,)
    assert max(strides) == 1
    with torch.no_grad():
        (got,) = exported.module()(input=image).values()
        torch.testing.assert_close(got, layer(image), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(4, 4, 5, 4, groups=4), nn.Conv2d(4, 4, 3, 4, dilation=2), nn.Conv2d(4, 4, 3, 3)],
)
def test_other_convolutions_stay_as_they_are(layer) -> None:
    exported = edgekit.export(layer.eval(), (torch.randn(1, 4, 24, 24),)).exported
    before = str(exported.graph)
    prepare(exported, load_recipe("int8"))
    assert str(exported.graph) == before


def test_weights_of_layers_in_float_stay_integers() -> None:
    model = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 16)).eval()
    program = edgekit.export(model, (torch.randn(1, 16),))
    override = Override(layer="^0$", weights="int8", activations="float32")
    recipe = replace(load_recipe("int8"), overrides=(override,))
    made = static.quantize(program, recipe, read("random", program.samples[0]))
    assert sum(map(weights.is_compressed, made.exported.graph.nodes)) == 1
