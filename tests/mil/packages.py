"""Small models, converted by coremltools, for the tests that need a real package."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    os.environ.setdefault("TQDM_DISABLE", "1")
    import coremltools as ct


class ConvNet(nn.Module):
    """Convolutions plain, strided, dilated, grouped, transposed; pools and norms."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Hardswish(),
            nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8), nn.PReLU(8), nn.MaxPool2d(2, 1),
            nn.ConvTranspose2d(8, 12, 3, 2, 1, 1), nn.GroupNorm(3, 12), nn.GELU(),
            nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
        )  # fmt: skip
        self.head = nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).mean((2, 3))).softmax(-1)


class Transformer(nn.Module):
    """One encoder layer on embedded tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 32)
        self.layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True)
        self.head = nn.Linear(32, 50)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(self.embedding(tokens)))


class Recurrent(nn.Module):
    """A two-layer bidirectional LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 8, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[0][:, -1])


class Upsampler(nn.Module):
    """A decoder: resizing, concatenation, pixel shuffle, padding, clamping."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(4, 8, 3, 1, 1), nn.Conv2d(12, 16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = nn.functional.interpolate(self.one(x), scale_factor=2, mode="bilinear")
        z = nn.functional.interpolate(x, scale_factor=2, mode="nearest")
        y = nn.functional.pixel_shuffle(self.two(torch.cat([y, z], 1)), 2)
        return nn.functional.pad(y, (1, 2, 0, 1)).clamp(-1, 1)


class Attention(nn.Module):
    """Fused attention with a causal mask; iOS18 has an operation for it."""

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril()
        return nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)


MODELS: dict[str, tuple[type[nn.Module], tuple[tuple[int, ...], ...]]] = {
    "convnet": (ConvNet, ((2, 3, 20, 20),)),
    "recurrent": (Recurrent, ((2, 5, 6),)),
    "upsampler": (Upsampler, ((1, 4, 5, 6),)),
    "attention": (Attention, ((2, 3, 5, 4), (2, 3, 5, 4), (2, 3, 5, 4))),
    "transformer": (Transformer, ((2, 7),)),
}


def make(name: str) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """Return a model with settled random weights, and an input."""
    kind, shapes = MODELS[name]
    torch.manual_seed(7)
    model = kind().eval()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.2)  # type: ignore[union-attr]
            layer.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    if name == "transformer":
        return model, tuple(torch.randint(0, 50, shape, dtype=torch.int32) for shape in shapes)
    return model, tuple(torch.randn(shape) for shape in shapes)


def convert(
    model: nn.Module, inputs: tuple[torch.Tensor, ...], path: Path, half: bool, **options: Any
) -> Path:
    """Convert with coremltools and save; no macOS needed.

    LSTMs are traced, since coremltools 9.0 cannot read them in an exported program.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if isinstance(model, Recurrent):
            program = torch.jit.trace(model, inputs)
            options["inputs"] = [ct.TensorType(f"x{i}", x.shape) for i, x in enumerate(inputs)]
        else:
            program = torch.export.export(model, inputs).run_decompositions({})
        precision = ct.precision.FLOAT16 if half else ct.precision.FLOAT32
        options.setdefault("minimum_deployment_target", ct.target.iOS17)
        made = ct.convert(program, compute_precision=precision, skip_model_load=True, **options)
        made.save(str(path))
    return path


def looping(path: Path, step: float = 1.0) -> Path:
    """Save a program that counts ``total`` down to zero by `step`, in a loop."""
    from coremltools.converters.mil import Builder as mb  # noqa: N813 - its name in its examples

    @mb.program(input_specs=[mb.TensorSpec((1,))], opset_version=ct.target.iOS17)
    def count(total):
        left = mb.while_loop(
            _cond=lambda x: mb.squeeze(x=mb.greater(x=x, y=0.0)),
            _body=lambda x: mb.sub(x=x, y=step),
            loop_vars=(total,),
        )
        return mb.identity(x=left, name="left")

    precision = ct.precision.FLOAT32
    made = ct.convert(count, compute_precision=precision, skip_model_load=True,
                      minimum_deployment_target=ct.target.iOS17)  # fmt: skip
    made._mil_program = None
    made.save(str(path))
    return path
