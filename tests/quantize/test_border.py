"""``--io int8``: a TFLite model without a float in it."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edgekit
from edgekit.benchmarks import benchmark_file
from edgekit.errors import UsageError
from edgekit.tensors import DType, TensorSpec
from edgekit.wire import tflite
from tests.in_process import convert


class Network(nn.Module):
    """What NPUs do not take as it is written: long steps, uneven pads, transposed convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.down = nn.Conv2d(3, 8, (6, 5), 4, 1), nn.Conv2d(8, 8, 3, 2, groups=8)
        self.up, self.head = nn.ConvTranspose2d(8, 8, 2, 2), nn.Linear(8, 5)

    def forward(self, image: Tensor) -> Tensor:
        x = nn.functional.relu(self.stem(image))
        x = torch.relu(self.down(nn.functional.pad(x, (0, 1, 0, 1))))
        return self.head(torch.relu(self.up(x)).mean((2, 3)))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Network().eval()


@pytest.fixture(scope="module")
def made(network, image, calibration, tmp_path_factory):
    (result,) = convert(
        network,
        (image,),
        formats=["tflite"],
        recipe="int8",
        calibration=calibration,
        options={"io": "int8"},
        output_dir=tmp_path_factory.mktemp("narrow"),
    ).results
    assert result.status == "passed", result.error or result.verification
    return result


def test_inputs_and_outputs_are_integers_and_nothing_else_is_float(made) -> None:
    kinds = {element for _, element in tflite.typed_operators(made.artifact.path)}
    assert kinds == {"int8"}
    for spec in (*made.artifact.signature.inputs, *made.artifact.signature.outputs):
        assert (spec.dtype, spec.source_dtype) == (DType.INT8, DType.FLOAT32)
        assert TensorSpec.from_json(spec.to_json()) == spec


def test_the_scales_of_the_record_give_the_source_s_values(made, network, image) -> None:
    (given,), (got,) = made.artifact.signature.inputs, made.artifact.signature.outputs
    with edgekit.open(made.artifact) as session, torch.no_grad():
        result = session.run({given.name: given.quantized(image.numpy())})[got.name]
        wanted = network(image).numpy()
    assert result.dtype == np.int8
    error = np.square(got.dequantized(result) - wanted).sum() / np.square(wanted).sum()
    assert error < 10 ** (-25 / 10)


def test_an_npu_takes_all_of_it(made, tmp_path) -> None:
    pytest.importorskip("ethosu")
    record = benchmark_file(
        made.artifact.path, target="ethos-u55-128", output=tmp_path / "record.json"
    )
    assert {node["on"] for node in record.placement["nodes"]} == {"NPU"}


@pytest.mark.parametrize(
    ("model", "recipe", "said"),
    [
        (nn.Linear(4, 4), "fp32", "fp32 is none"),
        (nn.Sequential(nn.Linear(4, 4), nn.Softmax(-1)), "int8", "output 'output' is computed in"),
        (nn.Sequential(nn.Softmax(-1), nn.Linear(4, 4)), "int8", "read in float, by SOFTMAX"),
    ],
)
def test_a_float_border_is_refused(model, recipe, said, tmp_path) -> None:
    (result,) = convert(
        model,
        (torch.randn(1, 4),),
        formats=["tflite"],
        recipe=recipe,
        calibration=None if recipe == "fp32" else "random",
        options={"io": "int8"},
        output_dir=tmp_path,
    ).results
    assert said in result.error.message


def test_other_formats_do_not_have_the_option(network, image, tmp_path) -> None:
    with pytest.raises(UsageError, match="'io' belongs to none"):
        convert(network, (image,), formats=["onnx"], options={"io": "int8"}, output_dir=tmp_path)
