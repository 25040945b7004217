"""Training with quantization simulated, and conversion of what came of it by the same path."""

import pytest
import torch

import edgekit
from edgekit.errors import UsageError
from edgekit.quantize import dialects, prepare_qat


@pytest.mark.slow
def test_a_trained_module_is_converted_as_it_was_trained(network, image, tmp_path):
    torch.manual_seed(0)
    images = torch.randn(8, 1, 3, 16, 16)
    with torch.no_grad():
        wanted = [1.5 * network(each) + 0.2 for each in images]  # something to learn
    trained = prepare_qat(network, (image,), "int8")
    optimizer = torch.optim.Adam(trained.parameters(), lr=1e-2)

    def loss():
        return sum(
            (trained(x) - want).square().mean() for x, want in zip(images, wanted, strict=True)
        )

    loss()  # finds ranges
    before = loss().item()
    for _ in range(12):
        optimizer.zero_grad()
        current = loss()
        current.backward()
        optimizer.step()
    trained.eval()
    assert loss().item() < before / 2
    program = trained.program()
    assert program.quantization.samples == 8 * 14
    with torch.no_grad():
        simulated = trained(torch.from_numpy(program.samples[0]["image"])).numpy()
    found = program.references[0]["output"]
    assert abs(found - simulated).max() < 0.02 * abs(found).max()
    report = edgekit.convert(trained, recipe="int8", output_dir=tmp_path)
    for result in report.results:
        assert result.status == "passed", result.error or result.verification
        assert result.verification.calibration == "ranges found while training, on 112 batches"
    assert {each.format for each in report.results} == {"coreml", "onnx", "tflite"}
    with pytest.raises(UsageError, match="quantized already"):
        edgekit.convert(trained, recipe="int8", calibration="random", output_dir=tmp_path)


def test_only_static_recipes_are_trained_for(network, image):
    with pytest.raises(UsageError, match="quantizes no activations"):
        prepare_qat(network, (image,), "fp16")


def test_trained_weights_do_not_overflow_in_onnx(tmp_path):
    """All weights at their largest, all values too: no sum of two products fits 16 bits."""
    layer = torch.nn.Linear(64, 4)
    torch.nn.init.constant_(layer.weight, 0.5)
    trained = prepare_qat(layer, (torch.ones(1, 64),), "int8")
    trained(torch.rand(8, 64)[:1] + 1.0)
    trained(torch.zeros(1, 64))
    (result,) = edgekit.convert(
        trained.eval(), recipe="int8", formats=["onnx"], output_dir=tmp_path
    ).results
    assert result.status == "passed", result.error or result.verification
    stored = dialects.stored_tensors(trained.program().exported)
    (weight,) = (each for each in stored.values() if each.dtype is torch.int8)
    assert weight.max() == 64
