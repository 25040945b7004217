"""Overrides: layers of another precision than the recipe's own, in every format."""

from collections import Counter

import pytest

import edgekit
from edgekit import lowering, plan
from edgekit import program as programs
from edgekit.artifact import open_artifact
from edgekit.errors import UsageError
from edgekit.layers import layer_of
from edgekit.quantize.dialects import is_dequantize, is_quantize
from edgekit.quantize.precisions import base_name
from edgekit.recipe import load_recipe
from edgekit.wire import tflite

FLOAT = 'weights = "float32"\nactivations = "float32"\n'


@pytest.fixture
def recipe(tmp_path):
    def write(text, base="int8"):
        path = tmp_path / "mixed.toml"
        path.write_text(f'base = "{base}"\n{text}')
        return load_recipe(path)

    return write


def quantized(network, image, calibration, recipe, folder):
    source = plan.in_memory(network, (image,), "network")
    lowering.save(source, folder, recipe=recipe, calibration=calibration)
    return programs.load(folder)


def test_a_layer_is_left_in_float_with_what_is_fused_into_it(
    network, image, calibration, recipe, tmp_path
):
    chosen = recipe(f'[[override]]\nlayer = "^stem\\\\.0$"\n{FLOAT}')
    made = quantized(network, image, calibration, chosen, tmp_path / "p")
    nodes = {layer_of(n): n for n in made.exported.graph.nodes if base_name(n)}
    stem = nodes["stem.0"]
    assert not any(is_dequantize(each) for each in stem.args[:2])
    (user,) = stem.users
    assert is_quantize(user)  # the clamp is dropped, for it quantizes to the range of the clamp
    assert is_dequantize(nodes["head"].args[1])


@pytest.mark.slow
def test_a_mixed_recipe_reaches_every_format(network, image, calibration, recipe, tmp_path):
    chosen = recipe(f'[[override]]\nlayer = "depthwise"\n{FLOAT}')
    report = edgekit.convert(
        network, (image,), recipe=chosen, calibration=calibration, output_dir=tmp_path
    )
    for result in report.results:
        assert result.status == "passed", result.error or result.verification
        assert open_artifact(result.artifact.path).made_by == chosen
    placed = {each.format: each.verification.placement for each in report.results}
    assert placed["onnx"]["integer"]["QLinearConv"] == 2
    assert placed["onnx"]["floating"]["Conv"] == 1  # which ONNX Runtime would quantize
    assert placed["tflite"]["floating"] == {"DEPTHWISE_CONV_2D": 1}
    found = Counter(tflite.typed_operators(report.results[1].artifact.path))
    assert found["CONV_2D", "int8"] == 2
    weights = edgekit.inspect(report.results[2].artifact.path).parameter_bytes
    assert weights["float32"] >= 4 * 8 * 9


def test_an_override_for_nothing_is_an_error(network, image, calibration, recipe, tmp_path):
    def convert(text):
        with pytest.raises(UsageError) as raised:
            quantized(network, image, calibration, recipe(text), tmp_path / "p")
        return raised.value

    wrong = convert(f'[[override]]\nlayer = "depthwise.7"\n{FLOAT}')
    assert wrong.message.endswith("matches the override layer = 'depthwise.7'.")
    assert wrong.hint == "Did you mean 'depthwise.1'?"
    wrong = convert(f'[[override]]\noperator = "conv3d"\n{FLOAT}')
    assert wrong.hint == "Did you mean 'conv2d'?"
