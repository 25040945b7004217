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


def mfcc(x: Tensor) -> Tensor:
    """Return cepstral coefficients, from a window shorter than the transform."""
    spectrum = torch.stft(x, 32, 8, 20, torch.hamming_window(20), return_complex=True)
    power = spectrum.abs().pow(2.0)
    bands = torch.linspace(0, 1, 17 * 8).reshape(17, 8)
    decibels = 10 * torch.clamp(power.mT @ bands, min=1e-10).log10()
    places = torch.arange(8)
    return decibels @ torch.cos(torch.pi / 8 * (places[:, None] + 0.5) * torch.arange(5))


def stretched(x: Tensor) -> Tensor:
    """Return a signal whose magnitudes were changed and whose phases were kept."""
    spectrum = torch.stft(x, 16, 4, window=HANN, return_complex=True)
    louder = torch.polar(spectrum.abs().sqrt(), spectrum.angle())
    return torch.istft(louder, 16, 4, window=HANN, length=64)


def rotated(x: Tensor, angles: Tensor) -> Tensor:
    """Return pairs of features turned by angles, as rotary embeddings do it."""
    turns = torch.polar(torch.ones_like(angles), angles)
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turns).flatten(-2)


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
    "stft, long transform": (
        lambda x: torch.stft(
            x, 1280, 320, window=torch.hann_window(1280), return_complex=True
        ).abs(),
        normal(1, 4000),
    ),
    "stft, both sides": (
        lambda x: torch.stft(x, 16, 8, window=HANN, onesided=False, return_complex=True).real,
        WAVE,
    ),
    "stft and back": (
        lambda x: torch.istft(
            torch.stft(x, 16, 4, window=HANN, return_complex=True), 16, 4, window=HANN
        ),
        WAVE,
    ),
    "stft, changed and back": (stretched, WAVE),
    "cepstral coefficients": (mfcc, WAVE),
    "rfft, a padded signal": (lambda x: torch.fft.rfft(x, n=24, norm="ortho").abs(), normal(2, 20)),
    "rfft, long": (lambda x: torch.fft.rfft(x).abs(), normal(1, 2048)),
    "rfft, first axis": (lambda x: torch.fft.rfft(x, dim=0).abs(), normal(12, 3)),
    "rfft2 and back": (
        lambda x: torch.fft.irfft2(torch.fft.rfft2(x) * 0.5, s=(8, 6)),
        normal(2, 8, 6),
    ),
    "ifft, real part": (lambda x: torch.fft.ifft(x).real, normal(2, 16)),
    "hfft": (lambda x: torch.fft.irfft(torch.fft.rfft(x).conj(), n=15), normal(2, 15)),
    "fftshift": (lambda x: torch.fft.fftshift(torch.fft.fft(x).abs(), dim=-1), normal(2, 15)),
    "angle": (lambda x: torch.fft.rfft(x).angle()[:, 1:-1], normal(2, 16)),
    "product of spectra": (
        lambda x, y: torch.fft.irfft(torch.fft.rfft(x) * torch.fft.rfft(y), n=16),
        *(normal(2, 16), normal(2, 16)),
    ),
    "quotient of spectra": (
        lambda x, y: (torch.fft.rfft(x) / (torch.fft.rfft(y).abs() + 1)).imag,
        *(normal(2, 16), normal(2, 16)),
    ),
    "rotation by complex numbers": (rotated, normal(2, 5, 8), normal(5, 4)),
    "complex from parts": (
        lambda x, y: (torch.complex(x, y) * torch.complex(y, x)).abs(),
        *(normal(3, 4), normal(3, 4)),
    ),
    "complex weights": (
        lambda x: (torch.fft.rfft(x) * torch.tensor([1 + 2j, 3 - 1j, 0.5j] * 3)).abs(),
        normal(2, 16),
    ),
}
