"""Losses, as models that score their input use them."""

import torch
from torch.nn import functional

from tests.conformance.operators.values import integers, nonzero, normal, uniform

X, Y = normal(4, 5), normal(4, 5)
CLASSES, SHARES = integers(0, 5, 4), uniform(0.05, 0.95, 4, 5)

CASES = {
    "mse_loss": (functional.mse_loss, X, Y),
    "mse_loss, of each": (lambda x, y: functional.mse_loss(x, y, reduction="none").mean(-1), X, Y),
    "l1_loss": (functional.l1_loss, X, Y),
    "l1_loss, sum": (lambda x, y: functional.l1_loss(x, y, reduction="sum"), X, Y),
    "smooth_l1_loss": (lambda x, y: functional.smooth_l1_loss(x, y, beta=0.7), X, Y),
    "huber_loss": (lambda x, y: functional.huber_loss(x, y, delta=0.7), X, Y),
    "cross_entropy": (functional.cross_entropy, X, CLASSES),
    "cross_entropy, of each": (
        lambda x, y: functional.cross_entropy(x, y, reduction="none"),
        *(X, CLASSES),
    ),
    "cross_entropy, of shares": (lambda x, y: functional.cross_entropy(x, y.softmax(-1)), X, Y),
    "cross_entropy, smoothed": (
        lambda x, y: functional.cross_entropy(x, y, label_smoothing=0.1),
        *(X, CLASSES),
    ),
    "nll_loss": (lambda x, y: functional.nll_loss(x.log_softmax(1), y), X, CLASSES),
    "binary_cross_entropy": (functional.binary_cross_entropy, SHARES, SHARES),
    "binary_cross_entropy_with_logits": (
        functional.binary_cross_entropy_with_logits,
        *(X, SHARES),
    ),
    "kl_div": (
        lambda x, y: functional.kl_div(x.log_softmax(-1), y.softmax(-1), reduction="batchmean"),
        *(X, Y),
    ),
    "cosine_embedding_loss": (
        lambda x, y: functional.cosine_embedding_loss(x, y, torch.tensor([1, -1, 1, 1])),
        *(X, Y),
    ),
    "triplet_margin_loss": (functional.triplet_margin_loss, X, Y, normal(4, 5)),
    "hinge_embedding_loss": (
        lambda x: functional.hinge_embedding_loss(x, torch.tensor([1, -1, 1, -1, 1])),
        X,
    ),
    "poisson_nll_loss": (functional.poisson_nll_loss, X, Y),
    "soft_margin_loss": (lambda x, y: functional.soft_margin_loss(x, y.sign()), X, nonzero(4, 5)),
    "perplexity": (
        lambda x: -(x.log_softmax(-1)[:, :-1].gather(-1, x[:, 1:].argmax(-1, True))).mean(),
        normal(2, 4, 5),
    ),
}
