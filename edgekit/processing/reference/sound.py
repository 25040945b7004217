"""Sound becomes log-mel features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np

from edgekit.processing.reference.common import Array, cast


def log_mel(
    sound: Array,
    *,
    input: str,  # noqa: A002
    dtype: str,
    shape: Sequence[int],
    sample_rate: int,
    samples: int,
    frame: int,
    hop: int,
    fft: int,
    window: str,
    spectrum: str,
    spectrum_divide_by: float,
    mels: int,
    low_hz: float,
    high_hz: float,
    mel_norm: str,
    log: str,
    floor: float,
    offset: float,
    clip: Sequence[float] | None,
    round: bool,  # noqa: A002
    layout: str,
    divide_by: float,
    mean: Sequence[float],
    std: Sequence[float],
) -> dict[str, Array]:
    """Turn sound into log-mel features.

    Frames of `frame` samples, `hop` apart, are windowed, zero-padded to `fft` and transformed; the
    spectrum is summed in triangular bands (`mel_filters`); then, in this order: logarithm of
    ``max(band, floor)`` (``db``: ``10 log10``; ``ln``), ``+ offset``, clip, round half to even,
    ``(value / divide_by - mean) / std``.

    Args:
        sound: (N,) samples in -1..1 at `sample_rate`; cut, or followed by zeros, to `samples`.
        input: Name of the model's input.
        dtype: Its element type.
        shape: Its shape, with as many elements as there are bands times frames.
        sample_rate: In hertz.
        samples: How many samples the model hears.
        frame: Samples in a frame.
        hop: Samples from one frame to the next.
        fft: Points of the transform.
        window: ``hann``, symmetric as ``numpy.hanning``; ``hann_periodic``, as PyTorch's default;
            or ``none``.
        spectrum: ``power``, the squared magnitude, or ``magnitude``.
        spectrum_divide_by: What the spectrum is divided by.
        mels: Number of bands.
        low_hz: Lowest edge of the bands.
        high_hz: Highest edge.
        mel_norm: ``sum``: each band's weights sum to 1; ``none``: they peak at 1.
        log: ``db``, ``ln`` or ``none``.
        floor: Smallest value that a logarithm is taken of.
        offset: Added to the logarithm.
        clip: Lowest and highest value, or None.
        round: Whether to round to whole numbers.
        layout: ``mel_time`` or ``time_mel``.
        divide_by: See above.
        mean: See above; one number.
        std: As `mean`.

    Raises:
        ValueError: the sound is not a line of numbers.
    """
    sound = np.asarray(sound)
    if sound.ndim != 1:
        raise ValueError(f"Sound is one line of samples, not an array of shape {sound.shape}.")
    heard = np.zeros(samples)
    heard[: min(samples, len(sound))] = sound[:samples]
    frames = np.lib.stride_tricks.sliding_window_view(heard, frame)[::hop]
    magnitude = np.abs(np.fft.rfft(frames * hann(frame, window), fft))
    energy = magnitude**2 if spectrum == "power" else magnitude
    bands = mel_filters(sample_rate, fft, mels, low_hz, high_hz, mel_norm)
    values = (energy / spectrum_divide_by) @ bands.T
    if log != "none":
        values = (
            np.log10(np.maximum(values, floor)) * 10
            if log == "db"
            else np.log(np.maximum(values, floor))
        )
    values = values + offset
    if clip is not None:
        values = values.clip(clip[0], clip[1])
    if round:
        values = np.rint(values)
    values = (values / divide_by - mean[0]) / std[0]
    ordered = values.T if layout == "mel_time" else values
    return {input: cast(ordered.reshape(shape), dtype)}


def hann(length: int, window: str) -> Array:
    """Return the window: ``0.5 - 0.5 cos(2 pi n / N)``, N the length, or one less if symmetric."""
    if window == "none":
        return np.ones(length)
    steps = length if window == "hann_periodic" else length - 1
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / steps)


@cache
def mel_filters(
    sample_rate: int, fft: int, mels: int, low_hz: float, high_hz: float, norm: str
) -> Array:
    """Return triangular filters (mels, fft // 2 + 1), evenly spaced in mel.

    ``mel = 1127 ln(1 + hertz / 700)``, the scale of HTK (Young et al., The HTK Book, 5.4).
    """
    low, high = (1127 * math.log1p(hertz / 700) for hertz in (low_hz, high_hz))
    edges = 700 * (np.exp(np.linspace(low, high, mels + 2) / 1127) - 1)
    bins = np.arange(fft // 2 + 1) * (sample_rate / fft)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
    filters: Array = np.minimum(rising, falling).clip(0)
    return filters / filters.sum(axis=1, keepdims=True) if norm == "sum" else filters
