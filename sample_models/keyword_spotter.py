"""Keyword spotting: a depthwise-separable CNN on log-mel features of synthetic speech.

Data: SYNTHETIC. Every utterance is spoken by espeak-ng (a formant synthesizer; no person was
recorded) in one of many voice variants and English accents, at a random speed, pitch and
loudness, placed at random in one second, sometimes muffled, and mixed with white to pink noise,
sometimes humming, at 5 to 30 dB. The test voices never speak in training, and half of the words
behind the test split's "unknown" are never heard there either. Expect less of real microphones.

Input: `features` (1, 1, 40, 49) float32, what `log_mel` makes of one second at 16 kHz: 40 mel
bands by 49 frames.
Output: logits (1, 11), one per word in `LABELS`.
Parameters: 23,627.
Retrain: `python scripts/train_keyword_spotter.py` (needs espeak-ng and scipy).
"""

from functools import cache
from pathlib import Path

import numpy as np
from sample_data import Array, Arrays, Run, accuracy, first_sample, load_split, load_weights
from torch import Tensor, nn

LABELS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "unknown")
REFERENCE = {"accuracy": 0.9109}

SAMPLE_RATE = 16_000
FRAME = 640
HOP = 320
SPECTRUM = 1024
MELS = 40
LOW_HZ, HIGH_HZ = 60.0, 7600.0
FLOOR_DB = -70.0
LOUDEST_DB = 63.0
"""Above the floor: what a full-scale voice reaches. Louder is clipped."""

PREPROCESS = {
    "sound": {
        "kind": "log_mel",
        "input": "features",
        "sample_rate": SAMPLE_RATE,
        "samples": 16_000,
        "frame": FRAME,
        "hop": HOP,
        "fft": SPECTRUM,
        "window": "hann",
        "spectrum_divide_by": 640,
        "mels": MELS,
        "low_hz": 60,
        "high_hz": 7600,
        "mel_norm": "sum",
        "log": "db",
        "floor": 1e-12,
        "offset": 70,
        "clip": [0, LOUDEST_DB],
        "round": True,
        "divide_by": 31.5,
        "mean": 1,
    }
}
"""`log_mel` below, as data: sound becomes `features`."""
POSTPROCESS = {"words": {"kind": "classes", "output": "output"}}


class KeywordSpotter(nn.Module):
    """DS-CNN: a strided conv stem, four depthwise-separable blocks, a linear head."""

    def __init__(self, width: int = 64, blocks: int = 4) -> None:
        """Make the layers, untrained."""
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, width, (8, 6), stride=4, padding=(2, 3), bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.blocks = nn.Sequential(*(separable(width) for _ in range(blocks)))
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(width, len(LABELS))

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (N, 11) for log-mel features (N, 1, 40, 49)."""
        pooled = self.blocks(self.stem(features)).mean(dim=(2, 3))
        logits: Tensor = self.head(self.dropout(pooled))
        return logits


def separable(width: int) -> nn.Sequential:
    """Return a depthwise 3x3 and a pointwise convolution, each with batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, width, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    )


def log_mel(waveform: Array) -> Array:
    """Turn one second of sound into what the model takes.

    Args:
        waveform: (16000,) float samples in -1..1 at 16 kHz.

    Returns:
        (1, 40, 49) float32: the model's `features` without the batch axis.
    """
    return to_features(mel_decibels(waveform))


def mel_decibels(waveform: Array) -> Array:
    """Return the energy of each mel band and frame in whole decibels above the floor.

    Whole decibels are as fine as the ear tells apart, and they fit a byte: the stored samples
    are exactly what this front end yields, not a compressed version of it.

    Args:
        waveform: (16000,) float samples in -1..1 at 16 kHz.

    Returns:
        (40, 49) uint8, 0..63.
    """
    frames = np.lib.stride_tricks.sliding_window_view(waveform, FRAME)[::HOP]
    spectrum = np.fft.rfft(frames * np.hanning(FRAME), SPECTRUM)
    power = (np.abs(spectrum) ** 2 / FRAME) @ mel_filters().T
    decibels = 10 * np.log10(np.maximum(power, 1e-12)) - FLOOR_DB
    levels: Array = decibels.clip(0, LOUDEST_DB).round().astype(np.uint8).T
    return levels


def to_features(levels: Array) -> Array:
    """Centre and scale decibels (..., 40, 49) to about -1..1, with a channel axis before them."""
    half = np.float32(LOUDEST_DB / 2)
    features: Array = levels[..., None, :, :].astype(np.float32) / half - 1
    return features


@cache
def mel_filters() -> Array:
    """Return the triangular mel filters (40, 513), each of unit sum."""
    mel_edges = np.linspace(hertz_to_mel(LOW_HZ), hertz_to_mel(HIGH_HZ), MELS + 2)
    edges = 700 * (np.exp(mel_edges / 1127) - 1)
    bins = np.arange(SPECTRUM // 2 + 1) * (SAMPLE_RATE / SPECTRUM)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    triangles = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)).clip(0)
    filters: Array = triangles / triangles.sum(axis=1, keepdims=True)
    return filters


def hertz_to_mel(hertz: float) -> float:
    """Return a frequency on the mel scale."""
    return 1127 * float(np.log1p(hertz / 700))


def build() -> nn.Module:
    """Return the trained spotter in eval mode."""
    return load_weights(KeywordSpotter(), Path(__file__).with_suffix(".safetensors"))


def example_inputs() -> tuple[Tensor, ...]:
    """Return the first test utterance."""
    return first_sample(dataset("test")[0])


def dataset(split: str) -> tuple[Arrays, Array]:
    """Return features (N, 1, 40, 49) and words (N,) of a split, "test" or "calibration"."""
    stored, labels = load_split(Path(__file__).with_suffix(".npz"), split)
    return {"features": to_features(stored["levels"])}, labels


def evaluate(run: Run) -> dict[str, float]:
    """Return the accuracy of `run` on the test split."""
    return {"accuracy": accuracy(run, *dataset("test"))}
