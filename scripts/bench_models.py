"""Models to measure conversion with: real shapes, seeded random weights, live activations.

edgekit convert scripts/bench_models.py:mobilenet_v2
EDGEKIT_BENCH_MILLIONS=25 edgekit convert scripts/bench_models.py:transformer
"""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn


def mobilenet_v2() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Return a network of MobileNetV2's shape (Sandler et al., 2018) and a 224 x 224 image."""
    settings = [  # expansion, channels, repeats, stride: table 2 of the paper
        *[(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)],
        *[(6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)],
    ]
    layers: list[nn.Module] = [_conv(3, 32, 3, 2)]
    channels = 32
    for expansion, width, repeats, stride in settings:
        for index in range(repeats):
            layers.append(_Inverted(channels, width, stride if index == 0 else 1, expansion))
            channels = width
    head = [_conv(channels, 1280, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1000)]
    image = torch.randn(1, 3, 224, 224)
    return _enlivened(_Image(*layers, *head), image), (image,)


def transformer() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Return a decoder-like stack of ``EDGEKIT_BENCH_MILLIONS`` million weights and 32 token ids.

    Width grows with the square root of the size, depth stays at 12 layers.
    """
    millions = float(os.environ.get("EDGEKIT_BENCH_MILLIONS", "1"))
    vocabulary, depth = 1000, 12
    width = max(64, round((millions * 1e6 / (12 * depth)) ** 0.5 / 64) * 64)
    ids = torch.randint(0, vocabulary, (1, 32))
    return _Transformer(vocabulary, width, depth).eval(), (ids,)


class _Image(nn.Sequential):
    def forward(self, image: Tensor) -> Tensor:
        """Name the input."""
        result: Tensor = super().forward(image)
        return result


class _Inverted(nn.Module):
    def __init__(self, into: int, out: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = into * expansion
        self.residual = stride == 1 and into == out
        expand = [_conv(into, hidden, 1)] if expansion != 1 else []
        project = nn.Sequential(nn.Conv2d(hidden, out, 1, bias=False), nn.BatchNorm2d(out))
        self.layers = nn.Sequential(*expand, _conv(hidden, hidden, 3, stride, hidden), project)

    def forward(self, x: Tensor) -> Tensor:
        """Add the block to its input where the shapes agree."""
        result: Tensor = self.layers(x)
        return x + result if self.residual else result


def _conv(into: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(into, out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU6(),
    )


def _enlivened(module: nn.Module, image: Tensor) -> nn.Module:
    """Fit batch-norm statistics to one input, so that outputs are of order one."""
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d):
            each.momentum = 1.0
    with torch.no_grad():
        module.train()(torch.cat([image, image.flip(-1)]))
    return module.eval()


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // 64
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Attend, then transform; both around a residual."""
        batch, length, width = x.shape
        heads = self.qkv(self.norm1(x)).reshape(batch, length, 3, self.heads, 64)
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        result: Tensor = x + self.down(nn.functional.gelu(self.up(self.norm2(x))))
        return result


class _Transformer(nn.Module):
    def __init__(self, vocabulary: int, width: int, depth: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Return logits over the vocabulary."""
        x = self.embed(input_ids)
        for block in self.blocks:
            x = block(x)
        result: Tensor = self.head(self.norm(x))
        return result
