"""Tensors that are made inside the model, with shapes and types from its inputs."""

import torch

from tests.conformance.operators.values import integers, normal

X, IDS = normal(2, 3), integers(0, 9, 2, 5)
I32 = torch.int32

CASES = {
    "zeros": (lambda x: x + torch.zeros(2, 3), X),
    "ones": (lambda x: torch.cat([x, torch.ones(1, 3)]), X),
    "full": (lambda x: x * torch.full((3,), 2.5), X),
    "full, int64": (lambda i: i + torch.full((5,), 3), IDS),
    "zeros_like": (lambda x: torch.zeros_like(x), X),
    "ones_like": (lambda x: torch.ones_like(x) + x, X),
    "full_like": (lambda x: torch.full_like(x, 0.3) * x, X),
    "zeros_like, other type": (lambda x: torch.zeros_like(x, dtype=torch.int64) + 1, X),
    "new_zeros": (lambda x: torch.cat([x.new_zeros(2, 1), x], 1), X),
    "new_ones": (lambda i: i.new_ones(i.shape) + i, IDS),
    "new_ones, bool": (lambda i: i.new_ones(i.shape, dtype=torch.bool) & (i > 3), IDS),
    "new_full": (lambda x: x.new_full((2, 3), 7.0) - x, X),
    "new_tensor": (lambda x: x + x.new_tensor([1.0, 2.0, 3.0]), X),
    "empty_like, filled": (lambda x: torch.empty_like(x).fill_(2.0) + x, X),
    "fill": (lambda x: x.clone().fill_(0.5), X),
    "zero_": (lambda x: x.clone().zero_() + 1, X),
    "scalar_tensor": (lambda x: x * torch.tensor(2.0), X),
    "arange": (lambda i: i + torch.arange(5), IDS),
    "arange, start and step": (lambda x: x * torch.arange(1, 7, 2), X),
    "arange, of floats": (lambda x: x + torch.arange(0.0, 1.0, 0.4), X),
    "arange, as long as the input": (lambda i: torch.arange(i.shape[1]).expand_as(i) - i, IDS),
    "linspace": (lambda x: x + torch.linspace(-1, 1, 3), X),
    "logspace": (lambda x: x + torch.logspace(0, 1, 3), X),
    "eye": (lambda x: x @ torch.eye(3), X),
    "tril_indices": (lambda x: x[:, torch.tril_indices(3, 3)[0]], X),
    "hann_window": (lambda x: x * torch.hann_window(3, periodic=False), X),
    "positions of tokens": (lambda i: torch.cumsum(i.ne(1).int(), 1) * i.ne(1).int(), IDS),
    "causal mask": (
        lambda x: torch.full((3, 3), float("-inf")).triu(1).softmax(-1) @ x.T,
        X,
    ),
    "attention mask to bias": (
        lambda i: (1.0 - (i > 2).to(torch.float32))[:, None, None, :] * -1e4,
        IDS,
    ),
    "largest float": (
        lambda x, i: x.masked_fill(i > 4, torch.finfo(x.dtype).min),
        X,
        integers(0, 9, 2, 3),
    ),
    "int32 constant": (lambda i: i * torch.tensor([1, 2, 3, 4, 5], dtype=I32), IDS),
    "float64 constant": (lambda x: (x * torch.tensor([1.0, 2.0, 3.0]).double()).float(), X),
    "shape as a number": (lambda x: x.sum() / x.shape[1] + x.numel(), X),
    "shape as a tensor": (lambda x: x * torch.tensor(x.shape).sum(), X),
}
