"""Attention, by the fused operator, by hand and by module."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.conformance.operators.values import normal

Q, K, V = normal(1, 4, 6, 8), normal(1, 4, 6, 8), normal(1, 4, 6, 8)
attend = functional.scaled_dot_product_attention
SOME = torch.ones(6, 6, dtype=torch.bool).tril(2)
PADDED = torch.tensor([[True, True, True, True, False, False]])


class SelfAttention(nn.Module):
    """`nn.MultiheadAttention` of a sequence with itself, or with another."""

    def __init__(self, **options: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 4, **options)

    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y = x if y is None else y
        return self.attention(x, y, y)


class Cached(nn.Module):
    """One step of a decoder: keys and values of the past go in and come out longer."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(8, 24)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = self.project(x).chunk(3, -1)
        keys, values = torch.cat([keys, key], 1), torch.cat([values, value], 1)
        return attend(query, keys, values), keys, values


class Causal(nn.Module):
    """A stack of layers that makes its mask as it goes."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        layer = getattr(nn, f"Transformer{kind}Layer")(16, 4, 32, batch_first=True)
        self.stack = getattr(nn, f"Transformer{kind}")(layer, 2)

    def forward(self, x: Tensor, *memory: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        return self.stack(x, *memory, mask) if memory else self.stack(x, mask)


def by_hand(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention with a causal mask made of ones."""
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    mask = torch.triu(torch.ones(6, 6, dtype=torch.bool), 1)
    return scores.masked_fill(mask, float("-inf")).softmax(-1) @ v


def rotated(x: Tensor) -> Tensor:
    """Rotary position embedding."""
    half = x.shape[-1] // 2
    angles = torch.arange(x.shape[-2])[:, None] * 10000.0 ** (-torch.arange(half) / half)
    cos, sin = angles.cos(), angles.sin()
    left, right = x[..., :half], x[..., half:]
    return torch.cat([left * cos - right * sin, right * cos + left * sin], -1)


def biased(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention with a bias that falls with the distance, one slope per head (ALiBi)."""
    place = torch.arange(6)
    slopes = 2.0 ** -torch.arange(1.0, 5.0)
    bias = -(place[:, None] - place).abs() * slopes[:, None, None]
    return attend(q, k, v, attn_mask=bias)


CASES = {
    "sdpa": (attend, Q, K, V),
    "sdpa, causal": (lambda q, k, v: attend(q, k, v, is_causal=True), Q, K, V),
    "sdpa, causal, longer keys": (
        lambda q, k, v: attend(q, k, v, is_causal=True),
        *(normal(1, 4, 3, 8), K, V),
    ),
    "sdpa, bool mask": (lambda q, k, v: attend(q, k, v, attn_mask=SOME), Q, K, V),
    "sdpa, padding mask": (lambda q, k, v: attend(q, k, v, attn_mask=PADDED), Q, K, V),
    "sdpa, float mask as input": (attend, Q, K, V, normal(1, 1, 6, 6)),
    "sdpa, scale": (lambda q, k, v: attend(q, k, v, scale=0.2), Q, K, V),
    "sdpa, other size of values": (attend, Q, K, normal(1, 4, 6, 5)),
    "sdpa, cross": (attend, normal(1, 4, 3, 8), K, V),
    "sdpa, grouped queries": (
        lambda q, k, v: attend(q, k, v, enable_gqa=True),
        *(Q, normal(1, 2, 6, 8), normal(1, 2, 6, 8)),
    ),
    "sdpa, grouped queries, causal": (
        lambda q, k, v: attend(q, k, v, is_causal=True, enable_gqa=True),
        *(Q, normal(1, 1, 6, 8), normal(1, 1, 6, 8)),
    ),
    "sdpa, rank 3": (attend, normal(2, 6, 8), normal(2, 6, 8), normal(2, 6, 8)),
    "sdpa, rank 2": (attend, normal(6, 8), normal(6, 8), normal(6, 8)),
    "sdpa, batch of 2 with masks": (
        lambda q, k, v: attend(q, k, v, attn_mask=torch.stack([SOME, SOME.T])[:, None]),
        *(normal(2, 4, 6, 8), normal(2, 4, 6, 8), normal(2, 4, 6, 8)),
    ),
    "by hand": (by_hand, Q, K, V),
    "with a bias by distance": (biased, Q, K, V),
    "rotary embedding": (rotated, Q),
    "with a cache": (Cached(), normal(1, 1, 8), normal(1, 5, 8), normal(1, 5, 8)),
    "multihead": (SelfAttention(), normal(6, 2, 16)),
    "multihead, batch first": (SelfAttention(batch_first=True), normal(2, 6, 16)),
    "multihead, cross": (
        SelfAttention(batch_first=True),
        *(normal(2, 3, 16), normal(2, 6, 16)),
    ),
    "multihead, without bias": (SelfAttention(batch_first=True, bias=False), normal(2, 6, 16)),
    "encoder layer": (
        nn.TransformerEncoderLayer(16, 4, 32, batch_first=True),
        normal(2, 6, 16),
    ),
    "encoder layer, norm first and gelu": (
        nn.TransformerEncoderLayer(16, 4, 32, activation="gelu", norm_first=True),
        normal(6, 2, 16),
    ),
    "decoder layer": (
        nn.TransformerDecoderLayer(16, 4, 32, batch_first=True),
        *(normal(1, 4, 16), normal(1, 6, 16)),
    ),
    "encoder, causal mask": (Causal("Encoder"), normal(1, 6, 16)),
    "decoder, causal mask": (Causal("Decoder"), normal(1, 4, 16), normal(1, 6, 16)),
}
