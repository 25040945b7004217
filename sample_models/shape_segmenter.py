"""Shapes in a picture: a small U-Net that labels every pixel.

Data: SYNTHETIC. `draw_scene(seed)` paints one to four circles, rectangles and triangles of
random colour, size and angle over each other on a textured background, then adds a gradient
of light and noise; some shapes hardly differ from what is behind them. Pictures full of noise
do not compress, so the .npz holds each split's seeds, and the pictures are drawn anew, the same
ones every time: numpy guarantees the stream of `RandomState`.

Input: `image` (1, 3, 64, 64) float32 RGB in 0..1.
Output: `mask_logits` (1, 4, 64, 64), one per class in `LABELS` for every pixel.
Parameters: 99,904.
Retrain: `python scripts/train_shape_segmenter.py`.
"""

from pathlib import Path

import numpy as np
import torch
from sample_data import (
    Array,
    Arrays,
    Run,
    first_sample,
    load_split,
    load_weights,
    predicted_classes,
)
from torch import Tensor, nn
from torch.nn.functional import interpolate

LABELS = ("background", "circle", "rectangle", "triangle")
REFERENCE = {"mean_iou": 0.7742, "pixel_accuracy": 0.9525}

SIZE = 64

PREPROCESS = {"image": {"kind": "image", "resize": "stretch", "size": SIZE, "divide_by": 255}}
POSTPROCESS = {"mask": {"kind": "class_map", "output": "mask_logits"}}


class ShapeSegmenter(nn.Module):
    """U-Net with two poolings; one way up is a transposed convolution, the other bilinear."""

    def __init__(self, width: int = 12) -> None:
        """Make the layers, untrained."""
        super().__init__()
        self.fine = convolutions(3, width)
        self.middle = convolutions(width, 2 * width)
        self.coarse = convolutions(2 * width, 6 * width)
        self.up = nn.ConvTranspose2d(6 * width, 2 * width, kernel_size=2, stride=2)
        self.merge_middle = convolutions(4 * width, 2 * width)
        self.merge_fine = convolutions(3 * width, width)
        self.head = nn.Conv2d(width, len(LABELS), 1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return mask_logits (N, 4, 64, 64) for images (N, 3, 64, 64) in 0..1."""
        fine = self.fine(image)
        middle = self.middle(self.pool(fine))
        coarse = self.coarse(self.pool(middle))
        middle = self.merge_middle(torch.cat([self.up(coarse), middle], dim=1))
        upward = interpolate(middle, scale_factor=2, mode="bilinear", align_corners=False)
        fine = self.merge_fine(torch.cat([upward, fine], dim=1))
        return {"mask_logits": self.head(fine)}


def convolutions(inputs: int, outputs: int) -> nn.Sequential:
    """Return two 3x3 convolutions, each with batch norm and ReLU; the size stays."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def draw_scene(seed: int) -> tuple[Array, Array]:
    """Draw one scene.

    Args:
        seed: Which scene; the same number is the same scene everywhere.

    Returns:
        The picture (3, 64, 64) uint8 and the class of each pixel (64, 64) uint8.
    """
    random = np.random.RandomState(seed)
    picture = random.uniform(0, 255, (3, 1, 1)) + texture(random)
    mask = np.zeros((SIZE, SIZE), np.uint8)
    # The type is given because the default integer, and with it the stream, differs by platform.
    for _ in range(random.randint(1, 5, dtype=np.int64)):
        kind = random.randint(1, len(LABELS), dtype=np.int64)
        inside = shape(LABELS[kind], random)
        mask[inside] = kind
        paint = random.uniform(0, 255, (3, 1, 1)) + 0.5 * texture(random)
        picture = np.where(inside, paint, picture)
    ramp = np.linspace(-1, 1, SIZE)
    light = random.uniform(-40, 40) * ramp[:, None] + random.uniform(-40, 40) * ramp
    noise = random.normal(0, random.uniform(5, 35), picture.shape)
    return (picture + light + noise).clip(0, 255).astype(np.uint8), mask


def texture(random: np.random.RandomState) -> Array:
    """Return a pattern (3, 64, 64) of three waves of random direction, colour and strength."""
    down, right = np.mgrid[:SIZE, :SIZE] / SIZE
    pattern = np.zeros((3, SIZE, SIZE))
    for _ in range(3):
        wave_down, wave_right = random.uniform(-12, 12, 2)
        wave = np.sin(2 * np.pi * (wave_down * down + wave_right * right + random.uniform()))
        pattern += random.uniform(-25, 25, (3, 1, 1)) * wave
    return pattern


def shape(label: str, random: np.random.RandomState) -> Array:
    """Return where a shape of random place, size, proportions and angle lies: (64, 64) bool."""
    centre, radius = random.uniform(8, SIZE - 8, 2), random.uniform(6, 18)
    angle, slimness = random.uniform(0, 2 * np.pi), random.uniform(0.55, 1)
    down, right = np.mgrid[:SIZE, :SIZE] - centre[:, None, None]
    along = (np.cos(angle) * right + np.sin(angle) * down) / radius
    across = (np.cos(angle) * down - np.sin(angle) * right) / radius
    if label == "circle":
        inside: Array = along**2 + across**2 < 1
    elif label == "rectangle":
        inside = (np.abs(along) < 1) & (np.abs(across) < slimness)
    else:
        inside = (along > -0.6) & (along + np.abs(across) / slimness < 1)
    return inside


def build() -> nn.Module:
    """Return the trained segmenter in eval mode."""
    return load_weights(ShapeSegmenter(), Path(__file__).with_suffix(".safetensors"))


def example_inputs() -> tuple[Tensor, ...]:
    """Return the first test picture, without drawing the others."""
    stored, _ = load_split(Path(__file__).with_suffix(".npz"), "test")
    return first_sample({"image": draw_images(stored["seeds"][:1])[0]})


def dataset(split: str) -> tuple[Arrays, Array]:
    """Return images (N, 3, 64, 64) and masks (N, 64, 64) of "test" or "calibration"."""
    stored, masks = load_split(Path(__file__).with_suffix(".npz"), split)
    return {"image": draw_images(stored["seeds"])[0]}, masks


def draw_images(seeds: Array) -> tuple[Array, Array]:
    """Return what the model takes, and the masks, for the scenes of these seeds."""
    pictures, masks = zip(*(draw_scene(int(seed)) for seed in seeds), strict=True)
    return np.stack(pictures).astype(np.float32) / 255, np.stack(masks)


def evaluate(run: Run) -> dict[str, float]:
    """Return the mean IoU over the classes and the pixel accuracy of `run` on the test split."""
    inputs, masks = dataset("test")
    predicted = predicted_classes(run, inputs, "mask_logits")
    count = len(LABELS)
    pairs = np.bincount((masks * count + predicted).ravel(), minlength=count**2)
    confusion = pairs.reshape(count, count)
    hits = confusion.diagonal()
    unions = confusion.sum(axis=0) + confusion.sum(axis=1) - hits
    return {
        "mean_iou": float(np.mean(hits / unions)),
        "pixel_accuracy": float(hits.sum() / confusion.sum()),
    }
