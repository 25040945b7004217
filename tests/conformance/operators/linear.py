"""Products of vectors, matrices and batches of them; distances."""

import torch
from torch import nn
from torch.nn import functional

from tests.conformance.operators.values import integers, normal, positive

F16 = torch.float16

CASES = {
    "linear": (nn.Linear(8, 5), normal(2, 8)),
    "linear, without bias": (nn.Linear(8, 5, bias=False), normal(2, 8)),
    "linear, rank 1": (nn.Linear(8, 5), normal(8)),
    "linear, rank 3": (nn.Linear(8, 5), normal(2, 3, 8)),
    "linear, rank 5": (nn.Linear(8, 5), normal(1, 2, 1, 3, 8)),
    "linear, of inputs": (functional.linear, normal(2, 8), normal(5, 8), normal(5)),
    "linear, no rows": (nn.Linear(8, 5), normal(0, 8)),
    "bilinear": (nn.Bilinear(4, 3, 5), normal(2, 4), normal(2, 3)),
    "matmul, 1 and 1": (torch.matmul, normal(4), normal(4)),
    "matmul, 1 and 2": (torch.matmul, normal(4), normal(4, 3)),
    "matmul, 2 and 1": (torch.matmul, normal(3, 4), normal(4)),
    "matmul, 2 and 2": (torch.matmul, normal(3, 4), normal(4, 2)),
    "matmul, 1 and 3": (torch.matmul, normal(4), normal(2, 4, 3)),
    "matmul, 3 and 1": (torch.matmul, normal(2, 3, 4), normal(4)),
    "matmul, 3 and 2": (torch.matmul, normal(2, 3, 4), normal(4, 5)),
    "matmul, 2 and 3": (torch.matmul, normal(3, 4), normal(2, 4, 5)),
    "matmul, 4 and 4": (torch.matmul, normal(2, 3, 4, 5), normal(2, 3, 5, 2)),
    "matmul, 4 and 3": (torch.matmul, normal(2, 3, 4, 5), normal(3, 5, 2)),
    "matmul, batches broadcast": (torch.matmul, normal(2, 1, 3, 4), normal(1, 5, 4, 2)),
    "matmul, 5 and 5": (torch.matmul, normal(1, 2, 3, 2, 4), normal(2, 1, 3, 4, 2)),
    "matmul, int64": (torch.matmul, integers(-5, 5, 3, 4), integers(-5, 5, 4, 2)),
    "matmul, float16": (torch.matmul, normal(3, 4, dtype=F16), normal(4, 2, dtype=F16)),
    "matmul, with a transpose": (lambda x, y: x @ y.mT, normal(2, 3, 4), normal(2, 5, 4)),
    "mm": (torch.mm, normal(3, 4), normal(4, 2)),
    "bmm": (torch.bmm, normal(2, 3, 4), normal(2, 4, 5)),
    "mv": (torch.mv, normal(3, 4), normal(4)),
    "dot": (torch.dot, normal(5), normal(5)),
    "outer": (torch.outer, normal(3), normal(4)),
    "addmm": (
        lambda c, a, b: torch.addmm(c, a, b, beta=0.5, alpha=2.0),
        *(normal(3, 2), normal(3, 4), normal(4, 2)),
    ),
    "addmm, row": (torch.addmm, normal(2), normal(3, 4), normal(4, 2)),
    "baddbmm": (
        lambda c, a, b: torch.baddbmm(c, a, b, beta=0.3, alpha=0.7),
        *(normal(2, 3, 5), normal(2, 3, 4), normal(2, 4, 5)),
    ),
    "addmv": (torch.addmv, normal(3), normal(3, 4), normal(4)),
    "addbmm": (torch.addbmm, normal(3, 5), normal(2, 3, 4), normal(2, 4, 5)),
    "einsum, matrices": (lambda x, y: torch.einsum("ij,jk->ik", x, y), normal(3, 4), normal(4, 2)),
    "einsum, attention scores": (
        lambda q, k: torch.einsum("bhid,bhjd->bhij", q, k),
        *(normal(1, 2, 3, 4), normal(1, 2, 5, 4)),
    ),
    "einsum, channels last": (
        lambda x, w: torch.einsum("bchw,dc->bdhw", x, w),
        *(normal(1, 3, 4, 5), normal(2, 3)),
    ),
    "einsum, three operands": (
        lambda x, y, z: torch.einsum("i,ij,j->", x, y, z),
        *(normal(3), normal(3, 4), normal(4)),
    ),
    "einsum, trace": (lambda x: torch.einsum("bii->b", x), normal(2, 3, 3)),
    "einsum, ellipsis": (
        lambda x, y: torch.einsum("...ij,...jk->...ik", x, y),
        *(normal(2, 3, 4), normal(2, 4, 2)),
    ),
    "einsum, outer": (lambda x, y: torch.einsum("i,j->ij", x, y), normal(3), normal(4)),
    "tensordot": (
        lambda x, y: torch.tensordot(x, y, dims=([1, 2], [0, 1])),
        *(normal(2, 3, 4), normal(3, 4, 5)),
    ),
    "inner": (torch.inner, normal(2, 4), normal(3, 4)),
    "kron": (torch.kron, normal(2, 3), normal(2, 2)),
    "chain_matmul": (
        lambda x, y, z: torch.linalg.multi_dot([x, y, z]),
        *(normal(2, 3), normal(3, 4), normal(4, 2)),
    ),
    "cdist": (torch.cdist, normal(4, 3), normal(5, 3)),
    "cdist, batched": (torch.cdist, normal(2, 4, 3), normal(2, 5, 3)),
    "cdist, 1": (lambda x, y: torch.cdist(x, y, p=1.0), normal(4, 3), normal(5, 3)),
    "pairwise_distance": (functional.pairwise_distance, normal(4, 3), normal(4, 3)),
    "cosine_similarity": (functional.cosine_similarity, normal(4, 3), normal(4, 3)),
    "normalize": (lambda x: functional.normalize(x, dim=-1), normal(4, 3)),
    "normalize, 1": (lambda x: functional.normalize(x, p=1.0, dim=0), positive(4, 3)),
}
