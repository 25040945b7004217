"""What is quantized, what shares a scale, and what it costs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import edgekit
from edgekit import metrics
from edgekit import program as programs
from edgekit.errors import ConversionError, UsageError
from edgekit.quantize import dialects, static
from edgekit.quantize.calibration import CalibrationData, read
from edgekit.quantize.quantizer import base_name
from edgekit.recipe import Calibration, load_recipe

RECIPE = load_recipe("int8")


def quantize(module, *inputs, count=8):
    program = edgekit.export(module.eval(), inputs)
    return static.quantize(program, RECIPE, read("random", program.samples[0]))


def nodes(program, name):
    return [n for n in program.exported.graph.nodes if base_name(n) == name]


def scale_after(node):
    """The scale and zero point that a node's result is quantized with."""
    (reader,) = {u for u in node.users if dialects.is_quantize(u)}
    return reader.args[1:3]


def scale_before(node, place=0):
    return node.args[place].args[1:3]


def test_every_weight_and_bias_is_an_integer(quantized) -> None:
    layers = [*nodes(quantized, "conv2d"), *nodes(quantized, "linear")]
    assert len(layers) == 4
    stored = dialects.stored_tensors(quantized.exported)
    for layer in layers:
        weight, bias = (stored[layer.args[place].args[0].name] for place in (1, 2))
        assert weight.dtype is torch.int8
        assert bias.dtype is torch.int32
        largest = weight.abs().amax(dim=tuple(range(1, weight.dim())))
        assert largest.ge(64).all()  # `edgekit.quantize.saturation` halves a range at most
        assert largest.le(127).all()
        scales = stored[layer.args[1].args[1].name]
        assert scales.shape == (weight.shape[0],)


def test_a_bias_has_the_accumulators_scale(quantized) -> None:
    stored = dialects.stored_tensors(quantized.exported)
    for layer in nodes(quantized, "conv2d"):
        value, weight, bias = layer.args[:3]
        product = np.float32(value.args[1]) * stored[weight.args[1].name]
        torch.testing.assert_close(stored[bias.args[1].name], product)


def test_activations_are_fused_and_dropped(quantized) -> None:
    """Their quantized range starts at zero and ends below six."""
    assert not nodes(quantized, "relu")
    assert not nodes(quantized, "relu6")
    assert scale_after(nodes(quantized, "conv2d")[0])[1] == -128


def test_a_clamp_that_cuts_is_kept() -> None:
    class Cut(nn.Module):
        def forward(self, x):
            return nn.functional.hardtanh(x * 3.0, -1.0, 1.0) + x

    program = quantize(Cut(), torch.randn(1, 8))
    assert nodes(program, "hardtanh")


def test_what_moves_values_keeps_their_scale(quantized) -> None:
    (pool,), (joined,) = nodes(quantized, "max_pool2d"), nodes(quantized, "cat")
    assert scale_before(pool) == scale_after(pool)
    scales = {each.args[1:3] for each in joined.args[0]}
    assert scales == {scale_after(joined)}


def test_the_program_says_what_quantization_cost(quantized, network) -> None:
    record = quantized.quantization
    assert (record.calibration, record.samples, record.method) == ("memory", 16, "min_max")
    sample = quantized.samples[0]
    want = network(torch.from_numpy(sample["image"])).detach().numpy()
    found = metrics.compare(want, quantized.references[0]["output"]).sqnr_db
    assert record.sqnr_db <= found
    assert 25 < record.sqnr_db < 60


def test_every_output_is_near_the_float_ones(network, image) -> None:
    """Coarser than 8 bits would not pass: one bit is 6 dB."""
    program = quantize(network, image)
    assert program.quantization.sqnr_db > 25


def spread(method):
    """The range that a method gives the input of a layer, one of whose samples has an outlier."""
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((128, 1, 4096)).astype(np.float32)
    rows[7, 0, 3] = 14.0
    recipe = replace(RECIPE, calibration=Calibration(method))
    program = edgekit.export(nn.Linear(4096, 8).eval(), (torch.from_numpy(rows[0]),))
    (name,) = program.samples[0]
    made = static.quantize(program, recipe, read({name: rows}, program.samples[0]))
    assert made.quantization.method == method
    (linear,) = nodes(made, "linear")
    return scale_before(linear)[0] * 255


def test_methods_treat_an_outlier_differently() -> None:
    assert spread("min_max") > 18
    assert spread("mse") < 16
    assert spread("moving_average") < 10


def test_nothing_to_quantize_is_said() -> None:
    class Sort(nn.Module):
        def forward(self, x):
            return x.sort(dim=-1).values

    with pytest.raises(ConversionError, match="quantizes nothing"):
        quantize(Sort(), torch.randn(1, 8))


def test_a_constant_zero_is_quantized(image) -> None:
    """An empty range must not divide by zero."""
    torch.manual_seed(0)
    dead = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1))
    with torch.no_grad():
        dead[0].weight.zero_()
        dead[0].bias.fill_(-1.0)
    program = quantize(dead, image)
    assert all(np.isfinite(each["output"]).all() for each in program.references)
    assert program.quantization.sqnr_db > 30


def test_a_dynamic_batch_stays_dynamic(network, image) -> None:
    program = edgekit.export(network, (image,), dynamic_shapes={"image": {0: (1, 8)}})
    made = static.quantize(program, RECIPE, read("random", program.samples[0]))
    five = {"image": torch.randn(5, 3, 16, 16)}
    assert made.exported.module(check_guards=False)(**five)["output"].shape == (5, 5)


@pytest.mark.parametrize("change", [dialects.with_float_biases, dialects.with_quantize_nodes])
def test_dialects_keep_the_values(quantized, saved, change) -> None:
    sample = {"image": torch.from_numpy(quantized.samples[0]["image"])}
    want = quantized.references[0]["output"]
    exported = change(programs.load(saved).exported)
    got = exported.module(check_guards=False)(**sample)["output"]
    np.testing.assert_allclose(got.numpy(), want, rtol=0, atol=1e-6)


def test_a_sample_that_the_model_cannot_read_is_named() -> None:
    words = nn.Sequential(nn.Embedding(5, 8), nn.Linear(8, 2)).eval()
    program = edgekit.export(words, (torch.tensor([[1, 2]]),))
    (name,) = program.samples[0]
    data = CalibrationData(tuple({name: np.array([[1, word]])} for word in (2, 99)), "test")
    with pytest.raises(UsageError, match="cannot read sample 2 of the calibration data: index out"):
        static.quantize(program, RECIPE, data)
