"""Train the digit classifier with quantization simulated, where 8 bits after training fail.

    python scripts/train_quantized.py       prints the accuracy before and after; about a minute

Ranges are found on pictures with a tenth of the ink, as where calibration data is not what the
model will see.  Training finds its own ranges, on the data that it trains on.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "sample_models"))
import digit_classifier as sample  # noqa: E402 - found by the line above
from sample_data import torch_run  # noqa: E402

import edgekit  # noqa: E402
from edgekit.quantize import prepare_qat  # noqa: E402

INK = 0.1  # what calibration sees of it
EPOCHS, BATCH, RATE = 2, 10, 2e-4
FORMATS = ("onnx", "tflite", "coreml")


def main() -> int:
    """Print the table; fail where training did not bring an artifact within a point of float."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = sample.build()
    inputs, labels = sample.dataset("calibration")
    rows = [(INK * row[None],) for row in inputs["image"]]
    wanted = sample.evaluate(torch_run(model))["accuracy"]
    print(f"float                {wanted:.4f}")
    after = {"after training": model, "trained with 8 bits": trained(model, inputs, labels)}
    worst = 0.0
    for told, module in after.items():
        found = accuracies(module, rows if module is model else None)
        print(f"{told:20} " + ", ".join(f"{name} {each:.4f}" for name, each in found.items()))
        worst = wanted - min(found.values())
    return int(worst > 0.01)


def trained(model: nn.Module, inputs: Any, labels: Any) -> nn.Module:
    """Fine-tune a copy with quantization simulated."""
    tuned: nn.Module = prepare_qat(model, sample.example_inputs(), "int8")
    images, classes = torch.from_numpy(inputs["image"]), torch.from_numpy(labels).long()
    for image in images[:BATCH]:
        tuned(image[None])  # finds ranges
    optimizer = torch.optim.Adam(tuned.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(images)).split(BATCH):
            optimizer.zero_grad()
            for row in rows:
                logits = tuned(images[row][None])
                nn.functional.cross_entropy(logits, classes[row][None]).backward()
            optimizer.step()
        schedule.step()
    return tuned.eval()


def accuracies(module: nn.Module, calibration: Any) -> dict[str, float]:
    """Convert to every format; return the accuracy of each artifact on the test split."""
    with tempfile.TemporaryDirectory() as folder:
        report = edgekit.convert(
            module,
            None if calibration is None else sample.example_inputs(),
            recipe="int8",
            formats=FORMATS,
            calibration=calibration,
            output_dir=folder,
        )
        found = {}
        for result in report.results:
            if result.artifact is None:
                raise SystemExit(f"{result.format}: {result.error or result.verification}")
            with edgekit.open(result.artifact) as session:
                found[result.format] = sample.evaluate(session.run)["accuracy"]
    return found


if __name__ == "__main__":
    sys.exit(main())
