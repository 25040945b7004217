"""Rewrites before anything is observed: the function stays, and kernels know its operators."""

import pytest
import torch
from torch import nn

import edgekit
from edgekit.quantize.precisions import base_name
from edgekit.quantize.preparation import prepare
from edgekit.recipe import load_recipe


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


def test_a_batch_may_still_vary_but_not_what_is_gathered() -> None:
    layer = nn.Conv2d(3, 8, 7, 4, 3).eval()
    for axis, image, gathered in ((0, (5, 3, 32, 32), True), (2, (2, 3, 40, 32), False)):
        varying = {"input": {axis: (1, 64)}}
        exported = edgekit.export(
            layer, (torch.randn(2, 3, 32, 32),), dynamic_shapes=varying
        ).exported
        prepare(exported, load_recipe("int8"))
        assert any(base_name(n) == "permute" for n in exported.graph.nodes) == gathered
        other = torch.randn(image)
        with torch.no_grad():
            (got,) = exported.module()(input=other).values()
            torch.testing.assert_close(got, layer(other), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(4, 4, 5, 4, groups=4), nn.Conv2d(4, 4, 3, 4, dilation=2), nn.Conv2d(4, 4, 3, 3)],
)
def test_other_convolutions_stay_as_they_are(layer) -> None:
    exported = edgekit.export(layer.eval(), (torch.randn(1, 4, 24, 24),)).exported
    before = str(exported.graph)
    prepare(exported, load_recipe("int8"))
    assert str(exported.graph) == before
