"""Labels of channels: those with one label are rescaled together, those with label 0 not at all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.fx import Node

FIXED = 0


@dataclass(frozen=True)
class Place:
    """Where labelled channels are.

    Attributes:
        node: A layer or a clamp; of a constant, the node that brings it in.
        axis: The axis of the channels: in what the node reads or, of a constant, in itself.
        labels: The label of each channel.
    """

    node: Node
    axis: int
    labels: Tensor


@dataclass
class Channels:
    """The labels of a graph, and where they are.

    Attributes:
        sources: Constants whose channels give what is labelled: divide these.
        readers: Layers whose weights make up for it: multiply these along their input channels.
        clamps: What cuts values at zero and at a bound.
    """

    sources: list[Place] = field(default_factory=list)
    readers: list[Place] = field(default_factory=list)
    clamps: list[Place] = field(default_factory=list)
    count: int = 1
    _pairs: list[Tensor] = field(default_factory=list)
    _fixed: set[int] = field(default_factory=lambda: {FIXED})

    def new(self, count: int) -> Tensor:
        """Return labels that nothing has."""
        self.count += count
        return torch.arange(self.count - count, self.count)

    def same(self, first: Tensor, second: Tensor) -> None:
        """Note that channels must have the same factor, element by element."""
        left, right = _compact(first, second)
        pairs = torch.stack([left + 0 * right, right + 0 * left], -1).reshape(-1, 2)
        self._pairs.append(torch.unique(pairs[pairs[:, 0] != pairs[:, 1]], dim=0))

    def fix(self, labels: Tensor) -> None:
        """Note that channels stay as they are."""
        self.same(labels, torch.zeros((), dtype=labels.dtype))
        self._fixed |= set(self._pairs[-1].reshape(-1).tolist())

    def are_fixed(self, labels: Tensor) -> bool:
        """Whether channels are known already to stay as they are."""
        return set(torch.unique(labels).tolist()) <= self._fixed

    def roots(self) -> Tensor:
        """Return for each label the smallest that it is one with."""
        return united(self.count, self._pairs)


def united(count: int, pairs: list[Tensor]) -> Tensor:
    """Return for each of so many numbers the smallest that pairs connect it to."""
    parent = list(range(count))

    def root(each: int) -> int:
        while parent[each] != each:
            parent[each] = parent[parent[each]]
            each = parent[each]
        return each

    for first, second in (pair for each in pairs for pair in each.tolist()):
        low, high = sorted((root(first), root(second)))
        parent[high] = low
    return torch.tensor([root(each) for each in range(count)])


def shaped(labels: Tensor, axis: int, value: Tensor) -> Tensor:
    """Return the labels of channels as those of all elements; takes no memory."""
    shape = [1] * value.dim()
    shape[axis] = -1
    return labels.reshape(shape).expand(value.shape)


def _compact(*labels: Tensor) -> list[Tensor]:
    """Return views without the axes along which no element differs in memory."""
    found = []
    for each in labels:
        for axis, stride in enumerate(each.stride()):
            if stride == 0 and each.shape[axis] > 1:
                each = each.narrow(axis, 0, 1)
        found.append(each)
    return found


def is_constant(labels: Tensor, axis: int) -> bool:
    """Whether labels are the same all along an axis."""
    (compact,) = _compact(labels)
    return bool((compact == compact.narrow(axis, 0, 1)).all())


def along(labels: Tensor, axis: int) -> Tensor | None:
    """Return the labels along one axis; None where they differ along another."""
    for other in range(labels.dim()):
        if other != axis:
            if not is_constant(labels, other):
                return None
            labels = labels.narrow(other, 0, 1)
    return labels.reshape(-1)
