"""Models for the readers: tiny ones built by hand, and one that the real converters made."""

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "contracts"))  # for make_models

_CONVERT = """
import sys, litert_torch, torch
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 4, 3)
        self.linear = torch.nn.Linear(4 * 36, 3)
    def forward(self, image, bias):
        features = torch.relu(self.conv(image))
        return {"logits": self.linear(features.flatten(1)) + bias, "features": features}
model, example = Model().eval(), (torch.zeros(1, 1, 8, 8), torch.zeros(3))
torch.onnx.export(model, example, sys.argv[1] + "/converted.onnx", dynamo=True, verbose=False)
litert_torch.convert(model, example).export(sys.argv[1] + "/converted.tflite")
"""


@pytest.fixture(scope="session")
def converted(tmp_path_factory):
    """Return a folder with converted.onnx (weights beside it) and converted.tflite."""
    folder = tmp_path_factory.mktemp("converted")
    command = [sys.executable, "-c", _CONVERT, str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture
def weight_bytes():
    """Return the bytes of the converted model's weights: a convolution and a linear layer."""
    return 4 * (4 * 9 + 4 + 3 * 4 * 36 + 3)
