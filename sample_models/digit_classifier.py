"""Handwritten digits: a small CNN on real 8x8 scans.

Data: the 1797 digits that ship with scikit-learn (`sklearn.datasets.load_digits`, the test part
of UCI's "Optical Recognition of Handwritten Digits"), real handwriting reduced to 8x8 pixels of
17 grey levels. In file order, unshuffled: the first 1197 train the model, the last 600 test it.
Calibration is 200 of the training digits. The split is by position because neighbouring digits
are often one writer's; shuffling would put the same hand on both sides.

Input: `image` (1, 1, 8, 8) float32 in 0..1, ink is 1.
Output: logits (1, 10), one per digit.
Parameters: 19,258.
Retrain: `python scripts/train_digit_classifier.py` (needs scikit-learn).
"""

from pathlib import Path

import numpy as np
from sample_data import Array, Arrays, Run, accuracy, first_sample, load_split, load_weights
from torch import Tensor, nn

LABELS = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
REFERENCE = {"accuracy": 0.9817}
INK_LEVELS = 16

PREPROCESS = {
    "picture": {
        "kind": "image",
        "input": "image",
        "channels": "gray",
        "resize": "stretch",
        "size": 8,
        "interpolation": "area",
        "divide_by": 255,
    }
}
"""White ink on black, in any size; the scans were made by counting the ink in each cell."""
POSTPROCESS = {"digits": {"kind": "classes", "output": "output"}}


class DigitClassifier(nn.Module):
    """Three convolutions with a pool after the second, then a linear head on their mean."""

    def __init__(self) -> None:
        """Make the layers, untrained."""
        super().__init__()
        self.features = nn.Sequential(
            convolution(1, 16),
            convolution(16, 32),
            nn.MaxPool2d(2),
            convolution(32, 48),
        )
        self.head = nn.Linear(48, len(LABELS))

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, 10) for images (N, 1, 8, 8) in 0..1."""
        logits: Tensor = self.head(self.features(image).mean(dim=(2, 3)))
        return logits


def convolution(inputs: int, outputs: int) -> nn.Sequential:
    """Return a 3x3 convolution with batch norm and ReLU; the size stays."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def build() -> nn.Module:
    """Return the trained classifier in eval mode."""
    return load_weights(DigitClassifier(), Path(__file__).with_suffix(".safetensors"))


def example_inputs() -> tuple[Tensor, ...]:
    """Return the first test digit."""
    return first_sample(dataset("test")[0])


def dataset(split: str) -> tuple[Arrays, Array]:
    """Return the images (N, 1, 8, 8) and digits (N,) of a split, "test" or "calibration"."""
    stored, labels = load_split(Path(__file__).with_suffix(".npz"), split)
    return {"image": to_image(stored["ink"])}, labels


def to_image(ink: Array) -> Array:
    """Turn stored ink levels (N, 8, 8), 0..16, into what the model takes."""
    return ink[:, None].astype(np.float32) / INK_LEVELS


def evaluate(run: Run) -> dict[str, float]:
    """Return the accuracy of `run` on the test split."""
    return {"accuracy": accuracy(run, *dataset("test"))}
