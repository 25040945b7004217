"""Spectra and filters of one-dimensional signals."""

import torch
from torch import Tensor
from torch.nn import functional

from tests.conformance.operators.values import normal

WAVE = normal(2, 64)
HANN = torch.hann_window(16)


def stft(x: Tensor, **options: object) -> Tensor:
    """Return the magnitudes of a short-time Fourier transform."""
    return torch.stft(x, 16, 4, window=HANN, return_complex=True, **options).abs()


def log_mel(x: Tensor) -> Tensor:
    """Return the features that most speech models begin with."""
    power = torch.stft(x, 16, 8, window=HANN, return_complex=True).abs() ** 2
    bands = torch.linspace(0, 1, 5 * 9).reshape(5, 9)
    return torch.clamp(bands @ power, min=1e-6).log10()


def framed_dct(x: Tensor) -> Tensor:
    """Return a cosine transform of overlapping frames."""
    frames = x.unfold(-1, 16, 8) * HANN
    places = torch.arange(16)
    basis = torch.cos(torch.pi / 16 * (places + 0.5) * torch.arange(6)[:, None])
    return frames @ basis.T


CASES = {
    "stft, magnitudes": (stft, WAVE),
    "stft, not centred": (lambda x: stft(x, center=False), WAVE),
    "stft, normalized": (lambda x: stft(x, normalized=True), WAVE),
    "stft, zeros at the border": (lambda x: stft(x, pad_mode="constant"), WAVE),
    "stft, as real numbers": (
        lambda x: torch.view_as_real(torch.stft(x, 16, 8, window=HANN, return_complex=True)),
        WAVE,
    ),
    "stft, no window, one signal": (
        lambda x: torch.stft(x, 16, 8, window=torch.ones(16), return_complex=True).abs(),
        normal(64),
    ),
    "log-mel features": (log_mel, WAVE),
    "rfft, magnitudes": (lambda x: torch.fft.rfft(x).abs(), normal(2, 16)),
    "rfft, real and imaginary": (
        lambda x: (torch.fft.rfft(x).real, torch.fft.rfft(x).imag),
        normal(2, 16),
    ),
    "fft, magnitudes": (lambda x: torch.fft.fft(x).abs(), normal(2, 16)),
    "fft2, magnitudes": (lambda x: torch.fft.fft2(x).abs(), normal(2, 8, 8)),
    "rfft and back": (lambda x: torch.fft.irfft(torch.fft.rfft(x) * 2, n=16), normal(2, 16)),
    "framed cosine transform": (framed_dct, WAVE),
    "pre-emphasis": (lambda x: torch.cat([x[:, :1], x[:, 1:] - 0.97 * x[:, :-1]], 1), WAVE),
    "smoothing": (
        lambda x: functional.avg_pool1d(functional.pad(x[:, None], (2, 2), "reflect"), 5, 1),
        WAVE,
    ),
}
