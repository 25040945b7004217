"""What 8 bits make slower computes in float, as few kinds of layers as pay."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import edgekit
from edgekit.errors import ConversionError, UsageError
from edgekit.quantize.calibration import CalibrationData
from edgekit.quantize.fit import speed
from edgekit.quantize.fit.within import Fast
from edgekit.recipe import load_recipe
from edgekit.wire import tflite
from tests.in_process import convert

RECIPE = load_recipe("int8")
ALL, NARROW = "all in 8 bits", "weights alone in 8 bits"
WIDE, POINT = "convolutions in float", "1x1 convolutions in float"
WIDE_8, POINT_8 = "convolutions in 8 bits", "1x1 convolutions in 8 bits"


class Two(nn.Module):
    """Two kinds of layers that weigh about the same, and a light third."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.point = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 64, 1)
        self.head = nn.Linear(64, 2)

    def forward(self, x):
        return self.head(self.point(torch.relu(self.wide(x))).mean((2, 3)))


@pytest.fixture(scope="module")
def program():
    torch.manual_seed(0)
    return edgekit.export(Two().eval(), (torch.randn(1, 8, 16, 16),))


@pytest.fixture
def fitted(program, monkeypatch, tmp_path):
    """Return what is found where artifacts take given times."""

    def fit(times):
        class Bench:
            def __init__(self, *_):
                self.trials, self.told = [], "as given"

            def timed(self, told, _recipe):
                return times[told]

        monkeypatch.setattr(speed, "Bench", Bench)
        data = CalibrationData((), "none")
        return speed.fit(lambda: program, RECIPE, data, SimpleNamespace, "onnx", tmp_path)

    return fit


def test_what_is_fast_stays_as_it_is(fitted) -> None:
    found = fitted({ALL: 0.5})
    assert found.recipe == RECIPE
    assert found.slow == {}


def test_one_slow_kind_computes_in_float(fitted) -> None:
    found = fitted({ALL: 0.98, NARROW: 1.0, WIDE: 0.8, POINT: 1.1})
    assert found.slow == {"convolutions": ("wide",)}
    assert found.ratio == 0.8
    assert found.recipe.at("wide", "conv2d").activations == "float32"
    assert found.recipe.at("wide", "conv2d").weights == "int8"
    assert found.recipe.at("point", "conv2d").activations == "int8"


def test_one_fast_kind_computes_in_8_bits(fitted) -> None:
    found = fitted({ALL: 1.3, NARROW: 1.0, WIDE_8: 0.9, POINT_8: 1.2})
    assert set(found.slow) == {"1x1 convolutions", "linear layers"}


def test_weights_are_float_where_integers_cost_time(fitted) -> None:
    found = fitted({ALL: 1.3, NARROW: 2.0, WIDE_8: 0.9, POINT_8: 1.2})
    assert found.recipe.at("point", "conv2d").weights == "float32"


def test_where_nothing_is_faster_it_is_said(fitted) -> None:
    with pytest.raises(ConversionError, match="in every kind of layer"):
        fitted(
            {
                ALL: 1.3,
                NARROW: 2.0,
                "convolutions in 8 bits": 1.2,
                "1x1 convolutions in 8 bits": 1.2,
            }
        )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"formats": ["onnx", "tflite"]}, "takes one"),
        ({"recipe": "w8", "calibration": None}, "times a static recipe"),
        ({"accuracy_budget": "1%"}, "one after the other"),
    ],
)
def test_what_makes_no_sense_is_refused(program, given, said) -> None:
    asked = {"formats": ["tflite"], "recipe": "int8", "calibration": "random", **given}
    with pytest.raises(UsageError, match=said):
        edgekit.convert(program, fast_here=True, **asked)


def test_layers_in_float_keep_small_weights_in_tflite(program, tmp_path) -> None:
    """Between integer layers, too, where integers would be at hand."""
    path = tmp_path / "mixed.toml"
    override = 'layer = "point"\nweights = "int8"\nactivations = "float32"'
    path.write_text(f'base = "int8"\n[[override]]\n{override}\n')
    rows = np.random.default_rng(0).standard_normal((4, 1, 8, 16, 16)).astype(np.float32)
    (result,) = convert(
        program, formats=["tflite"], recipe=path, calibration=list(rows), output_dir=tmp_path
    ).results
    assert result.status == "passed", result.error or result.verification
    found = Counter(tflite.typed_operators(result.artifact.path))
    assert found["CONV_2D", "float32"] == found["CONV_2D", "int8"] == 1
    assert result.artifact.size_bytes < 12_000


@pytest.mark.slow
def test_artifacts_are_made_and_timed(program, tmp_path) -> None:
    report = edgekit.convert(
        program,
        formats=["tflite"],
        recipe="int8",
        calibration="random",
        output_dir=tmp_path,
        name="two",
        fast_here=True,
    )
    (result,) = report.results
    assert result.status == "passed", result.error or result.verification
    assert report.fitted.trials[0].told == ALL
    assert all(0.01 < each.ratio < 100 for each in report.fitted.trials)
    assert Fast.from_json(report.fitted.to_json()) == report.fitted
    assert load_recipe(tmp_path / "two.recipe.toml").overrides == report.fitted.recipe.overrides
