"""Recurrent layers have weights of 8 bits: in the graph for all formats, in TFLite's file."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import edgekit
from edgekit import passes
from edgekit.quantize import weights
from edgekit.recipe import Override, load_recipe

STATIC, FOUR, DYNAMIC = "static_wi8_ai8", "weight_only_wi4_afp32", "dynamic_wi8_afp32"
LAYERS = {
    "lstm": lambda: nn.LSTM(24, 64, proj_size=32, bidirectional=True),
    "gru": lambda: nn.GRU(24, 64, num_layers=2),
}


class Steps(nn.Module):
    """All steps of one layer, and the last of two."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        steps = self.layer(x)[0]
        return steps if self.layer.num_layers == 1 else steps[-1]


def samples(count):
    return [(torch.randn(10, 1, 24),) for _ in range(count)]


CASES = [("lstm", "tflite", STATIC), ("gru", "tflite", FOUR), ("gru", "onnx", STATIC)]
MORE = [
    *(("gru", "tflite", STATIC), ("lstm", "tflite", DYNAMIC), ("lstm", "onnx", STATIC)),
    *(("lstm", "coreml", STATIC), ("gru", "coreml", STATIC)),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "format_name", "recipe"),
    [*CASES, *(pytest.param(*each, marks=pytest.mark.slow) for each in MORE)],
)
def test_weights_have_8_bits(name, format_name, recipe, tmp_path):
    torch.manual_seed(0)
    model = Steps(LAYERS[name]()).eval()
    given = {"calibration": samples(4)} if recipe == STATIC else {}
    (result,) = edgekit.convert(
        model,
        *samples(1),
        formats=[format_name],
        recipe=recipe,
        output_dir=tmp_path,
        isolate=False,
        use_cache=False,
        **given,
    ).results
    assert result.status == "passed", (result.error, result.verification)
    assert 35 < result.verification.quantization_sqnr_db < 60
    if format_name == "tflite":
        assert result.artifact.size_bytes < 2 * sum(each.numel() for each in model.parameters())


def test_an_override_keeps_a_layer_in_float():
    kept = Override(operator="gru", weights="float32", activations="float32")
    recipe = replace(load_recipe(DYNAMIC), overrides=(kept,))
    program = edgekit.export(Steps(LAYERS["gru"]()), *samples(1))
    exported = passes.run(program.exported)[-1].exported
    weights.quantize(exported, recipe)
    assert not any(map(weights.is_compressed, exported.graph.nodes))
