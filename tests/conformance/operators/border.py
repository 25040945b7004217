"""What goes in and comes out: several outputs, names, types, passed through, state."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from tests.conformance.operators.values import flags, integers, normal

X = normal(2, 3)


class Pair(NamedTuple):
    """Two outputs with names."""

    total: Tensor
    mean: Tensor


class Counter(nn.Module):
    """A running mean whose state the caller keeps."""

    def forward(self, x: Tensor, mean: Tensor, count: Tensor) -> dict[str, Tensor]:
        count = count + 1
        mean = mean + (x - mean) / count
        return {"mean": mean, "count": count}


class Streaming(nn.Module):
    """A causal convolution over a stream: the last samples of a chunk are the next one's state."""

    def __init__(self) -> None:
        super().__init__()
        self.filter = nn.Conv1d(2, 3, 4)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.cat([past, x], -1)
        return self.filter(x), x[..., -3:]


class Shared(nn.Module):
    """One weight in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(8, 4)
        self.head = nn.Linear(4, 8, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.embed(ids).mean(1))


class Constants(nn.Module):
    """Buffers of several types."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor([0.5, 2.0, 3.0]))
        self.register_buffer("table", torch.tensor([2, 0, 1]), persistent=False)
        self.register_buffer("keep", torch.tensor([True, False, True]))

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(self.keep, x[:, self.table] * self.scale, x)


def _write(x: Tensor, y: Tensor) -> Tensor:
    x[:, 0] = y[:, 0]
    return x * 2


CASES = {
    "tuple": (lambda x: (x + 1, x * 2), X),
    "dict": (lambda x: {"sum": x.sum(), "rows": x.sum(1)}, X),
    "named tuple": (lambda x: Pair(x.sum(), x.mean()), X),
    "nested": (lambda x: {"a": [x + 1, x + 2], "b": {"c": x * 2}}, X),
    "nested inputs": (lambda x, y: x @ y, X, normal(3, 2)),
    "three types": (lambda x: (x, x > 0, (x * 9).long()), X),
    "input returned": (lambda x, y: (x, x + y), X, X),
    "input alone": (lambda x: x, X),
    "output twice": (lambda x: (lambda y: (y, y))(x * 2), X),
    "constant output": (lambda x: (x * 2, torch.ones(3)), X),
    "unused input": (lambda x, y: x * 2, X, normal(4)),
    "input written into": (_write, X, normal(2, 3)),
    "0-d in and out": (lambda x, y: x * y, normal(), normal()),
    "0-d int64": (lambda i: i + 1, integers(0, 9)),
    "empty in and out": (lambda x: x * 2, normal(2, 0)),
    "bool in and out": (lambda p: ~p, flags(2, 3)),
    "int32 in and out": (lambda i: i * 2, integers(0, 9, 2, 3, dtype=torch.int32)),
    "int64 in and out": (lambda i: i * 2, integers(0, 9, 2, 3)),
    "uint8 in": (
        lambda i: i.float() / 255,
        integers(0, 255, 2, 3, dtype=torch.uint8),
    ),
    "float16 in and out": (lambda x: x * 2, normal(2, 3, dtype=torch.float16)),
    "float64 in and out": (lambda x: x * 2, normal(2, 3, dtype=torch.float64)),
    "rank 6": (lambda x: x.sum(-1) * 2, normal(1, 2, 1, 2, 2, 3)),
    "state: running mean": (Counter(), X, X, torch.tensor(3.0)),
    "state: streaming convolution": (Streaming(), normal(1, 2, 8), normal(1, 2, 3)),
    "shared weight": (Shared(), integers(0, 8, 2, 3)),
    "buffers": (Constants(), X),
    "deep chain": (lambda x: [x := (x * 1.1).tanh() + 0.1 for _ in range(30)][-1], X),
}
