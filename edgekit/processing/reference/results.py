"""What the model gives becomes what the app wants to know."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.processing.reference.common import Array


@dataclass(frozen=True)
class Scored:
    """A class and its score."""

    label: str
    index: int
    score: float


@dataclass(frozen=True)
class Box:
    """An object: its class, its score, and its corners in the units that the model gives."""

    label: str
    index: int
    score: float
    left: float
    top: float
    right: float
    bottom: float


def classes(
    outputs: Mapping[str, Array],
    *,
    output: str,
    activation: str,
    labels: Sequence[str],
    top_k: int | None,
    threshold: float | None,
) -> list[Scored]:
    """Return classes by score, the highest first; of equal scores the lower index first.

    Args:
        outputs: The model's outputs by name.
        output: The one that has a score for each class.
        activation: ``softmax``, ``sigmoid`` or ``none``.
        labels: One name for each class.
        top_k: How many to return at most; None for all.
        threshold: The lowest score to return; None for all.
    """
    scores = activated(outputs[output].reshape(-1), activation)
    order = np.argsort(-scores, kind="stable")[:top_k]
    return [
        Scored(labels[index], int(index), float(scores[index]))
        for index in order
        if threshold is None or scores[index] >= threshold
    ]


def activated(scores: Array, activation: str) -> Array:
    """Apply an activation to a line of scores, in float64.

    Softmax is ``exp(x - max x) / sum exp(x - max x)``; sigmoid is ``1 / (1 + exp(-x))``.
    """
    scores = scores.astype(np.float64)
    if activation == "softmax":
        powers = np.exp(scores - scores.max())
        scores = powers / powers.sum()
    if activation == "sigmoid":
        with np.errstate(over="ignore"):
            return 1 / (1 + np.exp(-scores))
    return scores


def class_map(
    outputs: Mapping[str, Array],
    *,
    output: str,
    axis: int,
    labels: Sequence[str],  # noqa: ARG001
) -> Array:
    """Return the class of each pixel (H, W) as uint8; of equal scores the lower index.

    Args:
        outputs: The model's outputs by name.
        output: The one with scores (1, C, H, W), or (1, H, W, C) where `axis` is 3.
        axis: Which axis holds the classes.
        labels: One name for each class, for the reader of the result.
    """
    found: Array = outputs[output].argmax(axis=axis)[0].astype(np.uint8)
    return found


def boxes(
    outputs: Mapping[str, Array],
    *,
    corners: str,
    scores: str,
    format: str,  # noqa: A002
    activation: str,
    labels: Sequence[str],
    threshold: float,
    iou: float,
    top_k: int,
) -> list[Box]:
    """Return the objects that a detector found, the surest first.

    Each candidate has the class of its highest score; those below `threshold` are dropped.  Then
    greedy non-maximum suppression: from the surest down, a candidate is dropped if it overlaps a
    kept one of its class by more than `iou`, intersection over union.

    Args:
        outputs: The model's outputs by name.
        corners: The output with boxes (1, N, 4).
        scores: The output with scores (1, N, C).
        format: ``xyxy``: left, top, right, bottom; ``xywh``: left, top, width, height;
            ``cxcywh``: centre, width, height.
        activation: ``sigmoid`` or ``none``.
        labels: One name for each class.
        threshold: The lowest score to return.
        iou: The largest overlap of two objects of one class.
        top_k: How many to return at most.
    """
    edges = _edges(outputs[corners].reshape(-1, 4).astype(np.float64), format)
    grid = outputs[scores]
    certainty = activated(grid.reshape(-1), activation).reshape(len(edges), -1)
    best = certainty.argmax(axis=1)
    surest = certainty[np.arange(len(edges)), best]
    kept: list[int] = []
    for place in np.argsort(-surest, kind="stable"):
        if surest[place] < threshold or len(kept) == top_k:
            break
        rivals = (other for other in kept if best[other] == best[place])
        if all(overlap(edges[other], edges[place]) <= iou for other in rivals):
            kept.append(int(place))
    return [
        Box(labels[best[i]], int(best[i]), float(surest[i]), *(float(edge) for edge in edges[i]))
        for i in kept
    ]


def _edges(given: Array, form: str) -> Array:
    if form == "xyxy":
        return given
    first, extent = given[:, :2], given[:, 2:]
    start = first - extent / 2 if form == "cxcywh" else first
    return np.concatenate([start, start + extent], axis=1)


def overlap(first: Array, second: Array) -> float:
    """Return the intersection over union of two boxes (left, top, right, bottom)."""
    width = max(0.0, min(first[2], second[2]) - max(first[0], second[0]))
    height = max(0.0, min(first[3], second[3]) - max(first[1], second[1]))
    shared = width * height
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    union = areas[0] + areas[1] - shared
    return float(shared / union) if union > 0 else 0.0


def values(outputs: Mapping[str, Array], *, output: str, dtype: str, normalize: bool) -> Array:
    """Return an output's numbers without the batch axis.

    Args:
        outputs: The model's outputs by name.
        output: Which one.
        dtype: Element type of the result: ``float32`` or ``int64``.
        normalize: Whether to divide by the Euclidean length.
    """
    numbers: Array = outputs[output][0].astype(np.float64 if normalize else dtype)
    if normalize and (length := math.sqrt(float((numbers * numbers).sum()))) > 0:
        numbers = numbers / length
    rounded: Array = numbers.astype(dtype)
    return rounded
