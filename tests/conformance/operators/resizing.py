"""Interpolation in all its modes, and sampling by a grid."""

import torch
from torch import nn
from torch.nn import functional

from tests.conformance.operators.values import normal, uniform

LINE, IMAGE, VOLUME = normal(1, 3, 7), normal(1, 3, 6, 7), normal(1, 2, 3, 4, 5)


def resize(mode: str, size: object = None, factor: object = None, **options: object) -> nn.Module:
    """Return a module that interpolates."""
    return _Resize({"mode": mode, "size": size, "scale_factor": factor, **options})


class _Resize(nn.Module):
    def __init__(self, options: dict[str, object]) -> None:
        super().__init__()
        self.options = options

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.interpolate(x, **self.options)


def _identity_grid(x: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    grid = functional.affine_grid(theta, [1, 3, 5, 8], align_corners=False)
    return functional.grid_sample(x, grid, align_corners=False)


def sample(**options: object) -> object:
    """Return a function that samples by a grid."""
    return lambda x, grid: functional.grid_sample(x, grid, **options)


GRID = uniform(-0.93, 0.93, 1, 4, 5, 2)
OUTSIDE = uniform(-1.4, 1.4, 1, 4, 5, 2)
CASES = {
    "nearest, doubled": (resize("nearest", factor=2), IMAGE),
    "nearest, to a size": (resize("nearest", (9, 5)), IMAGE),
    "nearest, by a fraction": (resize("nearest", factor=1.5), IMAGE),
    "nearest, 1d": (resize("nearest", 11), LINE),
    "nearest, 3d": (resize("nearest", factor=2), VOLUME),
    "nearest-exact, doubled": (resize("nearest-exact", factor=2), IMAGE),
    "nearest-exact, to a size": (resize("nearest-exact", (9, 5)), IMAGE),
    "bilinear, doubled": (resize("bilinear", factor=2), IMAGE),
    "bilinear, to a size": (resize("bilinear", (9, 5)), IMAGE),
    "bilinear, halved": (resize("bilinear", factor=0.5), normal(1, 3, 8, 10)),
    "bilinear, by a fraction": (resize("bilinear", factor=1.7), IMAGE),
    "bilinear, by a fraction, recomputed": (
        resize("bilinear", factor=1.7, recompute_scale_factor=True),
        IMAGE,
    ),
    "bilinear, aligned corners": (resize("bilinear", (9, 5), align_corners=True), IMAGE),
    "bilinear, aligned corners, doubled": (
        resize("bilinear", factor=2, align_corners=True),
        IMAGE,
    ),
    "bilinear, to one": (resize("bilinear", (1, 1), align_corners=True), IMAGE),
    "bilinear, of one": (resize("bilinear", (4, 4)), normal(1, 3, 1, 1)),
    "bilinear, antialiased": (resize("bilinear", (3, 4), antialias=True), IMAGE),
    "bicubic, doubled": (resize("bicubic", factor=2), IMAGE),
    "bicubic, to a size": (resize("bicubic", (9, 5)), IMAGE),
    "bicubic, aligned corners": (resize("bicubic", (9, 5), align_corners=True), IMAGE),
    "bicubic, antialiased": (resize("bicubic", (3, 4), antialias=True), IMAGE),
    "linear": (resize("linear", 11), LINE),
    "linear, aligned corners": (resize("linear", 11, align_corners=True), LINE),
    "trilinear": (resize("trilinear", factor=2), VOLUME),
    "trilinear, aligned corners": (resize("trilinear", (5, 6, 4), align_corners=True), VOLUME),
    "area": (resize("area", (3, 5)), IMAGE),
    "upsample module": (nn.Upsample(scale_factor=2, mode="bilinear"), IMAGE),
    "to the size of another": (
        lambda x, y: functional.interpolate(x, y.shape[2:], mode="bilinear") + y,
        *(IMAGE, normal(1, 3, 12, 9)),
    ),
    "grid_sample": (sample(align_corners=False), IMAGE, GRID),
    "grid_sample, aligned corners": (sample(align_corners=True), IMAGE, GRID),
    "grid_sample, outside": (sample(align_corners=False), IMAGE, OUTSIDE),
    "grid_sample, border": (sample(padding_mode="border", align_corners=False), IMAGE, OUTSIDE),
    "grid_sample, reflection": (
        sample(padding_mode="reflection", align_corners=False),
        *(IMAGE, OUTSIDE),
    ),
    "grid_sample, nearest": (sample(mode="nearest", align_corners=False), IMAGE, GRID),
    "grid_sample, bicubic": (sample(mode="bicubic", align_corners=False), IMAGE, GRID),
    "affine_grid": (
        lambda theta: functional.affine_grid(theta, [1, 3, 5, 8], align_corners=True),
        normal(1, 2, 3),
    ),
    "affine_grid and grid_sample": (_identity_grid, IMAGE, normal(1, 2, 3, scale=0.3)),
}
