"""Reading and writing by index: gather, scatter, take, embedding, order."""

import torch
from torch import nn
from torch.nn import functional

from tests.conformance.operators.values import distinct, flags, integers, normal, order

X = normal(3, 4)
D = distinct(3, 6)
I32 = torch.int32


def _put(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    x = x.clone()
    x[:, 1:3] = y
    return x


def _put_at(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    x = x.clone()
    x[torch.tensor([2, 0])] = y
    return x


def _fill_one(x: torch.Tensor) -> torch.Tensor:
    x = x.clone()
    x[1, -1] = 5.0
    return x


def _put_where(x: torch.Tensor) -> torch.Tensor:
    x = x.clone()
    x[x < 0] = 0.25
    return x


def _windows(x: torch.Tensor) -> torch.Tensor:
    starts = torch.arange(0, 6, 2)[:, None] + torch.arange(3)
    return x[:, starts]


CASES = {
    "gather": (lambda x, i: x.gather(1, i), X, integers(0, 4, 3, 2)),
    "gather, first axis": (lambda x, i: x.gather(0, i), X, integers(0, 3, 2, 4)),
    "gather, rank 3": (lambda x, i: x.gather(-2, i), normal(2, 3, 4), integers(0, 3, 2, 5, 4)),
    "gather, int64": (lambda x, i: x.gather(1, i), integers(0, 9, 3, 4), integers(0, 4, 3, 2)),
    "gather, smaller than its source": (
        lambda x, i: x.gather(1, i),
        *(normal(4, 4), integers(0, 4, 2, 3)),
    ),
    "take_along_dim": (
        lambda x: torch.take_along_dim(x, x.argsort(1), 1),
        D,
    ),
    "take": (torch.take, X, integers(0, 12, 2, 3)),
    "index_select": (lambda x, i: x.index_select(1, i), X, integers(0, 4, 5)),
    "index_select, int32": (lambda x, i: x.index_select(0, i), X, integers(0, 3, 2, dtype=I32)),
    "index, one tensor": (lambda x, i: x[i], X, integers(0, 3, 5)),
    "index, negative": (lambda x, i: x[i], X, integers(-3, 3, 5)),
    "index, rank 2": (lambda x, i: x[i], X, integers(0, 3, 2, 2)),
    "index, two tensors": (lambda x, i, j: x[i, j], X, integers(0, 3, 5), integers(0, 4, 5)),
    "index, broadcast together": (
        lambda x, i, j: x[i[:, None], j],
        *(X, integers(0, 3, 2), integers(0, 4, 3)),
    ),
    "index, second axis": (lambda x, i: x[:, i], normal(2, 3, 4), integers(0, 3, 4)),
    "index, apart": (
        lambda x, i, j: x[i, :, j],
        *(normal(3, 2, 4), integers(0, 3, 5), integers(0, 4, 5)),
    ),
    "index, windows": (_windows, normal(2, 8)),
    "index, by a list": (lambda x: x[:, [0, 2, 1]], X),
    "index, by a 0-d tensor": (lambda x, i: x[i], X, integers(0, 3)),
    "scatter": (
        lambda x, i, y: x.scatter(1, i, y),
        *(X, torch.tensor([[0, 2], [3, 1], [1, 0]]), normal(3, 2)),
    ),
    "scatter, value": (
        lambda x: x.scatter(0, torch.tensor([[0, 2, 1, 1]]), 9.0),
        X,
    ),
    "scatter_add": (lambda x, i, y: x.scatter_add(1, i, y), X, integers(0, 4, 3, 5), normal(3, 5)),
    "scatter_add, first axis": (
        lambda i, y: torch.zeros(4, 3).scatter_add(0, i[:, None].expand(-1, 3), y),
        *(integers(0, 4, 6), normal(6, 3)),
    ),
    "scatter_reduce, amax": (
        lambda x, i, y: x.scatter_reduce(1, i, y, "amax"),
        *(X, integers(0, 4, 3, 5), normal(3, 5)),
    ),
    "scatter_reduce, sum": (
        lambda x, i, y: x.scatter_reduce(0, i, y, "sum", include_self=True),
        *(X, integers(0, 3, 5, 4), normal(5, 4)),
    ),
    "index_add": (lambda x, i, y: x.index_add(0, i, y), X, integers(0, 3, 5), normal(5, 4)),
    "index_copy": (
        lambda x, y: x.index_copy(0, torch.tensor([2, 0]), y),
        *(X, normal(2, 4)),
    ),
    "index_fill": (lambda x: x.index_fill(1, torch.tensor([0, 3]), 7.0), X),
    "index_put": (
        lambda x, y: x.index_put((torch.tensor([0, 2]), torch.tensor([3, 1])), y),
        *(X, normal(2)),
    ),
    "index_put, accumulate": (
        lambda x, i, y: x.index_put((i,), y, accumulate=True),
        *(X, integers(0, 3, 5), normal(5, 4)),
    ),
    "index_put, by assignment": (_put_at, X, normal(2, 4)),
    "index_put, by a condition": (_put_where, X),
    "slice_scatter": (_put, X, normal(3, 2)),
    "slice_scatter, itself": (
        lambda x, y: torch.slice_scatter(x, y, dim=1, start=0, step=2),
        *(X, normal(3, 2)),
    ),
    "select_scatter": (lambda x, y: torch.select_scatter(x, y, 1, -1), X, normal(3)),
    "fill of one element": (_fill_one, X),
    "masked_scatter by where": (lambda x, p, y: torch.where(p, y, x), X, flags(3, 4), X),
    "topk": (lambda x: x.topk(3), D),
    "topk, smallest": (lambda x: x.topk(2, dim=0, largest=False), D),
    "topk, of all": (lambda x: x.topk(6, dim=-1, sorted=True).values, D),
    "sort": (lambda x: x.sort(), D),
    "sort, descending": (lambda x: x.sort(0, descending=True), D),
    "sort, int64": (lambda x: x.sort(-1).values, integers(-99, 99, 3, 6)),
    "argsort": (lambda x: x.argsort(-1), D),
    "argsort, descending": (lambda x: x.argsort(1, descending=True), D),
    "argsort, twice": (lambda x: x.argsort(1).argsort(1), D),
    "kthvalue": (lambda x: x.kthvalue(2, dim=1).values, D),
    "msort": (torch.msort, D),
    "bucketize": (lambda x: torch.bucketize(x, torch.tensor([-1.0, 0.0, 0.5])), X),
    "searchsorted": (
        lambda x: torch.searchsorted(torch.tensor([-1.0, -0.2, 0.4, 1.0]), x),
        X,
    ),
    "one_hot": (lambda i: functional.one_hot(i, 5), integers(0, 5, 3, 2)),
    "embedding": (nn.Embedding(10, 4), integers(0, 10, 2, 3)),
    "embedding, int32": (nn.Embedding(10, 4), integers(0, 10, 2, 3, dtype=I32)),
    "embedding, padding index": (nn.Embedding(10, 4, padding_idx=2), integers(0, 10, 6)),
    "embedding, of an input": (functional.embedding, integers(0, 5, 4), normal(5, 3)),
    "embedding, one id": (nn.Embedding(10, 4), integers(0, 10)),
    "embedding_bag, sum": (nn.EmbeddingBag(10, 4, mode="sum"), integers(0, 10, 3, 5)),
    "embedding_bag, mean": (nn.EmbeddingBag(10, 4, mode="mean"), integers(0, 10, 3, 5)),
    "embedding_bag, max": (nn.EmbeddingBag(10, 4, mode="max"), integers(0, 10, 3, 5)),
    "embedding_bag, offsets": (
        lambda i, w: functional.embedding_bag(i, w, torch.tensor([0, 2, 5]), mode="sum"),
        *(integers(0, 10, 8), normal(10, 4)),
    ),
    "embedding_bag, weighted": (
        lambda i, w, s: functional.embedding_bag(i, w, mode="sum", per_sample_weights=s),
        *(integers(0, 10, 3, 5), normal(10, 4), normal(3, 5)),
    ),
    "inverse of an order": (lambda i: torch.zeros_like(i).scatter(0, i, torch.arange(6)), order(6)),
}
