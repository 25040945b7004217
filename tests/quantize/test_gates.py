"""Hard sigmoids and swishes between integer layers are integers themselves."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from tests.in_process import convert


class Gated(nn.Module):
    """A swish, and a gate over channels, as a MobileNetV3 has them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.gate, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 4, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = F.hardswish(self.stem(image))
        return self.head(x * F.hardsigmoid(self.gate(x.mean((2, 3), keepdim=True))))


def test_gates_are_integers_and_give_what_the_graph_gives(tmp_path) -> None:
    torch.manual_seed(0)
    images = [(4 * torch.randn(1, 3, 12, 12),) for _ in range(9)]
    report = convert(
        Gated().eval(),
        images[0],
        formats=["onnx", "tflite"],
        recipe="int8",
        calibration=images[1:],
        output_dir=tmp_path,
    )
    for result in report.results:
        assert result.status == "passed", result.error or result.verification
        assert result.verification.placement["floating"] == {}
        assert result.verification.outputs[0].sqnr_db > 45
        assert result.verification.quantization_sqnr_db > 20
