"""Gestures from a motion sensor: a two-layer GRU over accelerometer and gyroscope samples.

Data: SYNTHETIC, from the simulator in `scripts/train_gesture_gru.py`; nobody waved anything. A
hand follows a parametric path with random size, speed, start and tremor; the sensor it holds,
turned at random within a loose grip, reads the path's acceleration plus gravity and the wrist's
turning, with bias and noise. Gestures may be weak, start late or be cut off, as real ones are.

Input: `motion` (1, 64, 6) float32: 64 samples at 50 Hz of acceleration x, y, z in g and angular
rate x, y, z in rad/s. At rest the acceleration is about (0, 0, 1), turned by the grip.
Output: logits (1, 8), one per gesture in `LABELS`.
Parameters: 22,568.
Retrain: `python scripts/train_gesture_gru.py`.
"""

from pathlib import Path

import numpy as np
from sample_data import Array, Arrays, Run, accuracy, first_sample, load_split, load_weights
from torch import Tensor, nn

LABELS = (
    *("idle", "tap", "shake", "swipe_left", "swipe_right"),
    *("circle", "figure_eight", "twist"),
)
REFERENCE = {"accuracy": 0.9883}

TIME_STEPS = 64
CHANNELS = 6

PREPROCESS = {"motion": {"kind": "tensor"}}
POSTPROCESS = {"gestures": {"kind": "classes", "output": "output"}}


class GestureGru(nn.Module):
    """Two GRU layers; the largest value of each state over time decides.

    So a tap, a few samples of 64, counts wherever it falls.
    """

    def __init__(self, width: int = 48) -> None:
        """Make the layers, untrained."""
        super().__init__()
        self.gru = nn.GRU(CHANNELS, width, num_layers=2, batch_first=True)
        self.head = nn.Linear(width, len(LABELS))

    def forward(self, motion: Tensor) -> Tensor:
        """Return logits (N, 8) for motion (N, 64, 6)."""
        states, _ = self.gru(motion)
        logits: Tensor = self.head(states.amax(dim=1))
        return logits


def build() -> nn.Module:
    """Return the trained model in eval mode."""
    return load_weights(GestureGru(), Path(__file__).with_suffix(".safetensors"))


def example_inputs() -> tuple[Tensor, ...]:
    """Return the first test gesture."""
    return first_sample(dataset("test")[0])


def dataset(split: str) -> tuple[Arrays, Array]:
    """Return motion (N, 64, 6) and gestures (N,) of a split, "test" or "calibration"."""
    stored, labels = load_split(Path(__file__).with_suffix(".npz"), split)
    return {"motion": stored["motion"].astype(np.float32)}, labels


def evaluate(run: Run) -> dict[str, float]:
    """Return the accuracy of `run` on the test split."""
    return {"accuracy": accuracy(run, *dataset("test"))}
