"""Real models, converted by coremltools, against eager PyTorch."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.errors import UsageError
from edgekit.runtimes import mil, open_session
from edgekit.tensors import Dim
from tests.mil.packages import MODELS, convert, ct, make

pytestmark = pytest.mark.filterwarnings("ignore")


def sqnr_db(got: Any, want: Any) -> float:
    want = np.asarray(want, np.float64)
    noise = float(np.square(np.asarray(got, np.float64) - want).sum())
    return math.inf if noise == 0 else 10 * math.log10(float(np.square(want).sum()) / noise)


def compare(path: Path, model: nn.Module, inputs: tuple[torch.Tensor, ...]) -> float:
    """Return the SQNR of a package's only output against eager PyTorch."""
    with open_session(path, "coreml", runtime="mil") as session, torch.no_grad():
        names = [spec.name for spec in session.signature.inputs]
        feeds = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
        (got,) = session.run(feeds).values()
        return sqnr_db(got, model(*inputs).numpy())


@pytest.mark.parametrize(
    "target",
    [pytest.param("iOS15", marks=pytest.mark.slow), pytest.param("iOS17", marks=pytest.mark.slow),
     "iOS18"],
)  # fmt: skip
@pytest.mark.parametrize("name", MODELS)
def test_a_float32_program_computes_what_the_model_does(
    name: str, target: str, tmp_path: Path
) -> None:
    model, inputs = make(name)
    options = {"minimum_deployment_target": getattr(ct.target, target)}
    path = convert(model, inputs, tmp_path / "m.mlpackage", half=False, **options)
    assert compare(path, model, inputs) >= 100


@pytest.mark.parametrize("name", MODELS)
def test_a_float16_program_is_as_near_as_float16_allows(name: str, tmp_path: Path) -> None:
    model, inputs = make(name)
    path = convert(model, inputs, tmp_path / "m.mlpackage", half=True)
    ratio = compare(path, model, inputs)
    assert 45 <= ratio <= 85  # better would mean that nothing was rounded


def test_float32_precision_leaves_out_the_rounding(tmp_path: Path) -> None:
    model, inputs = make("attention")  # no weights, so that nothing is rounded in the file
    path = convert(model, inputs, tmp_path / "m.mlpackage", half=True)
    feeds = {name: value.numpy() for name, value in zip("qkv", inputs, strict=True)}
    want = model(*inputs).numpy()
    exact = mil.load(path, threads=1)
    free = mil.load(path, threads=1, precision="float32")
    assert free.signature.outputs[0].dtype.value == "float32"
    (rounded,), (unrounded,) = (e.infer(feeds, []).values() for e in (exact, free))
    assert sqnr_db(rounded, want) < 85
    assert sqnr_db(unrounded, want) > 120


def test_the_operation_that_overflows_is_named(tmp_path: Path) -> None:
    class Overflowing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tanh(torch.exp(x) * 1e-4)

    inputs = (torch.tensor([[1.0, 2.0, 12.0]]),)
    path = convert(Overflowing(), inputs, tmp_path / "m.mlpackage", half=True)
    engine = mil.load(path, threads=1)
    found = engine.first_divergence({"x": inputs[0].numpy()}, tolerance_db=40)
    assert found is not None
    assert found.overflowed
    assert found.type == "exp"
    assert str(found).startswith("overflows float16 at op ")
    assert engine.first_divergence({"x": np.ones((1, 3), np.float32)}, tolerance_db=40) is None


def test_a_conversion_of_another_function_is_found_out(tmp_path: Path) -> None:
    """The two GELUs differ by less than 1e-3, which is all that coremltools 9.0 mistakes."""
    model, inputs = nn.GELU(), (torch.linspace(-3, 3, 50),)
    path = convert(model, inputs, tmp_path / "m.mlpackage", half=False)
    assert compare(path, nn.GELU("tanh"), inputs) < 80
    assert compare(path, model, inputs) > 120


def test_watched_values_come_with_the_outputs(tmp_path: Path) -> None:
    model, inputs = make("convnet")
    path = convert(model, inputs, tmp_path / "m.mlpackage", half=False)
    engine = mil.load(path, threads=1)
    feeds = {"x": inputs[0].numpy()}
    output = engine.signature.outputs[0].name
    values = engine.infer(feeds, ["x", "linear"]) if output != "linear" else {}
    logits = model.head(model.features(inputs[0]).mean((2, 3)))  # type: ignore[operator,union-attr]
    assert sqnr_db(values["linear"], logits.detach().numpy()) > 100
    assert np.array_equal(values["x"], feeds["x"])
    with pytest.raises(UsageError, match="no value named nowhere"):
        engine.infer(feeds, ["nowhere"])


@pytest.mark.parametrize("bits", [4, pytest.param(8, marks=pytest.mark.slow)])
def test_quantized_weights(bits: int, tmp_path: Path) -> None:
    model, inputs = make("transformer")
    path = tmp_path / "m.mlpackage"
    options = {"minimum_deployment_target": ct.target.iOS18}
    convert(model, inputs, path, half=False, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        optimize = ct.optimize.coreml
        config = optimize.OpLinearQuantizerConfig(
            dtype=f"int{bits}", granularity="per_block", block_size=8, weight_threshold=64
        )
        loaded = ct.models.MLModel(str(path), skip_model_load=True)
        small = optimize.linear_quantize_weights(loaded, optimize.OptimizationConfig(config))
        small.save(str(tmp_path / "small.mlpackage"))
        plain = optimize.decompress_weights(small)  # Apple's own decompression
        plain.save(str(tmp_path / "plain.mlpackage"))
    feeds = {"tokens": inputs[0].numpy()}
    results = [
        next(iter(mil.load(tmp_path / name, threads=1).infer(feeds, []).values()))
        for name in ("small.mlpackage", "plain.mlpackage")
    ]
    assert sqnr_db(results[0], results[1]) > 100
    low, high = {4: (10, 35), 8: (35, 60)}[bits]
    assert low < sqnr_db(results[0], model(*inputs).detach().numpy()) < high


def test_flexible_shapes(tmp_path: Path) -> None:
    class Any1(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.relu().mean(-1)

    example = (torch.randn(2, 5),)
    traced = torch.jit.trace(Any1(), example)
    for shape, bad in (
        (ct.Shape((ct.RangeDim(1, 4), 5)), (5, 5)),
        (ct.EnumeratedShapes([(2, 5), (4, 5)]), (3, 5)),
    ):
        path = tmp_path / "m.mlpackage"
        ct.convert(
            traced,
            inputs=[ct.TensorType("x", shape)],
            minimum_deployment_target=ct.target.iOS17,
            compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
        ).save(str(path))
        with open_session(path, "coreml", runtime="mil") as session:
            assert isinstance(session.signature.inputs[0].shape[0], Dim)
            x = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
            (got,) = session.run({"x": x}).values()
            assert sqnr_db(got, np.maximum(x, 0).mean(-1)) > 100
            with pytest.raises(UsageError, match="shape"):
                session.run({"x": np.zeros(bad, np.float32)})


@pytest.mark.parametrize("labels", [["red", "green", "blue"], [10, 20, 30]])
def test_image_inputs_take_pixels_and_a_classifier_gives_its_label(
    labels: list[Any], tmp_path: Path
) -> None:
    class Classifier(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3)).softmax(-1)

    traced = torch.jit.trace(Classifier(), (torch.rand(1, 3, 4, 4),))
    path = tmp_path / "m.mlpackage"
    ct.convert(
        traced,
        inputs=[ct.ImageType("x", (1, 3, 4, 4), scale=1 / 255, color_layout=ct.colorlayout.RGB)],
        classifier_config=ct.ClassifierConfig(labels),
        minimum_deployment_target=ct.target.iOS17,
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
    ).save(str(path))
    pixels = np.zeros((1, 3, 4, 4), np.uint8)
    pixels[:, 1] = 200
    with open_session(path, "coreml", runtime="mil") as session:
        assert str(session.signature.inputs[0]) == "x: uint8[1, 3, 4, 4]"
        values = session.run({"x": pixels})
    assert values["classLabel"].item() == labels[1]
    (probabilities,) = (value for name, value in values.items() if name != "classLabel")
    want = np.exp(np.array([0, 200 / 255, 0]))
    assert sqnr_db(probabilities, want / want.sum()) > 100


def test_state_lasts_as_long_as_the_session(tmp_path: Path) -> None:
    class Accumulator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("total", torch.zeros(2, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.total.add_(x)  # type: ignore[operator]
            return self.total * 2  # type: ignore[operator]

    traced = torch.jit.trace(Accumulator().eval(), (torch.zeros(2, 3),))
    path = tmp_path / "m.mlpackage"
    ct.convert(
        traced,
        inputs=[ct.TensorType("x", (2, 3))],
        outputs=[ct.TensorType("y", dtype=np.float16)],
        states=[ct.StateType(ct.TensorType(shape=(2, 3), dtype=np.float16), "total")],
        minimum_deployment_target=ct.target.iOS18,
        skip_model_load=True,
    ).save(str(path))
    engine = mil.load(path, threads=1)
    feeds = {"x": np.ones((2, 3), engine.signature.inputs[0].dtype.numpy())}
    seen = [float(engine.infer(feeds, [])["y"][0, 0]) for _ in range(3)]
    engine.reset_state()
    assert [*seen, float(engine.infer(feeds, [])["y"][0, 0])] == [2, 4, 6, 2]
