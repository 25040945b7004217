"""Sums of two products stay within 16 bits, and only where they must do scales grow."""

import numpy as np
import pytest
import torch
from torch import nn

import edgekit
from edgekit.plan import plan
from edgekit.quantize import dialects, static
from edgekit.quantize.calibration import read
from edgekit.quantize.precisions import base_name
from tests.in_process import convert

COUNT = 64


def quantized(layer, rows, formats=("onnx", "tflite")):
    program = edgekit.export(layer.eval(), (torch.from_numpy(rows[0]),))
    (name,) = program.samples[0]
    recipe = plan(program, formats=formats, recipe="int8", calibration={name: rows}).recipe
    return static.quantize(program, recipe, read({name: rows}, program.samples[0]))


def weights(program):
    (node,) = (n for n in program.exported.graph.nodes if base_name(n) in {"linear", "conv2d"})
    stored = dialects.stored_tensors(program.exported)
    return stored[node.args[1].args[0].name].numpy().astype(np.int64)


def uniform(*shape):
    return np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32)


@pytest.fixture
def equal():
    """A layer whose weights are all as large as they can be."""
    layer = nn.Linear(COUNT, 4)
    nn.init.constant_(layer.weight, 0.5)
    return layer


def test_a_sum_that_cannot_fit_is_made_to(equal) -> None:
    rows = 0.4 * uniform(64, 1, COUNT)
    rows[0, 0, 0] = 1.0  # one channel sets the scale; the others may reach as far one day
    found = weights(quantized(equal, rows))
    assert set(np.unique(found)) == {64}
    assert 255 * (64 + 64) <= 2**15 - 1


def test_formats_without_such_kernels_need_no_room(equal) -> None:
    assert weights(quantized(equal, uniform(64, 1, COUNT), ["tflite", "coreml"])).max() == 127


def test_weights_that_differ_in_sign_need_no_room(equal) -> None:
    with torch.no_grad():
        equal.weight[:, ::2] *= -1
    assert np.abs(weights(quantized(equal, uniform(64, 1, COUNT)))).max() == 127


def test_depthwise_layers_are_left_alone() -> None:
    layer = nn.Conv2d(4, 4, 3, groups=4)
    nn.init.constant_(layer.weight, 0.5)
    assert weights(quantized(layer, uniform(8, 1, 4, 8, 8))).max() == 127


def test_a_layer_with_one_input_channel_is_not_depthwise() -> None:
    layer = nn.Conv2d(1, 4, 3)
    nn.init.constant_(layer.weight, 0.5)
    rows = uniform(8, 1, 1, 8, 8)
    rows[0] = 1.0
    assert weights(quantized(layer, rows)).max() == 64


def test_onnx_runtime_computes_the_right_sums(equal, tmp_path) -> None:
    """On x86 without VNNI this fails when the weights are 127."""
    rows = 0.4 * uniform(64, 1, COUNT)
    rows[0, 0, 0] = 1.0
    report = convert(
        equal,
        (torch.ones(1, COUNT),),  # more than calibration saw
        formats=["onnx"],
        recipe="int8",
        calibration=[(each,) for each in rows],
        output_dir=tmp_path,
        use_cache=False,
    )
    assert report.results[0].status == "passed", report.results[0].verification
