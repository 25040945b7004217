"""Pictures that a model takes as pixels: the arithmetic of their processing, baked into a model.

What is baked is the end of an ``image`` step: order of channels, layout, ``divide_by``, ``mean``,
``std``.  Resizing and cropping stay outside, since they depend on the picture.  A baked input takes
uint8 (1, height, width, channels), its specification says ``pixels`` as its layout; Core ML makes a
picture of its own kind of it, and says ``image``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.errors import UsageError
from edgekit.processing.schema import Processing

if TYPE_CHECKING:
    import torch

PIXELS, IMAGE = "pixels", "image"
"""Layouts of a baked input: uint8 (1, H, W, C), and Core ML's (1, C, H, W)."""
BAKED = (PIXELS, IMAGE)


@dataclass(frozen=True)
class Picture:
    """What is baked for one input.

    Attributes:
        layout: Of the model's own input, ``nchw`` or ``nhwc``.
        channels: ``rgb``, ``bgr`` or ``gray``.
        divide_by: See `edgekit.processing.reference.picture.image`.
        mean: One number for all channels, or one for each.
        std: As `mean`.
    """

    layout: str
    channels: str
    divide_by: float
    mean: tuple[float, ...]
    std: tuple[float, ...]


def pictures_of(processing: Processing) -> dict[str, Picture]:
    """Return what can be baked, by the model's input.

    Raises:
        UsageError: no picture is declared.
    """
    found = {
        step.options["input"]: Picture(
            *(step.options[key] for key in ("layout", "channels", "divide_by", "mean", "std"))
        )
        for step in processing.before
        if step.kind == "image"
    }
    if not found:
        raise UsageError(
            "There is no picture whose processing could be baked into the model.",
            'Declare one beside the model: [preprocess.<name>] with kind = "image".',
        )
    return found


def bake(
    border: torch.nn.Module, tensors: Mapping[str, torch.Tensor], pictures: Mapping[str, Picture]
) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """Return a border that takes pixels, and the tensors to call it with.

    Args:
        border: What `edgekit.border.make_border` returned.
        tensors: Its inputs by name.
        pictures: What to bake, by input.

    Raises:
        UsageError: there is no such input, or it takes no picture.
    """
    import torch

    for name, picture in pictures.items():
        _check(name, tensors, picture)

    def forward(self: Any, **given: torch.Tensor) -> dict[str, torch.Tensor]:
        made = {
            name: _prepared(tensor, pictures[name], tensors[name].dtype)
            if name in pictures
            else tensor
            for name, tensor in given.items()
        }
        result: dict[str, torch.Tensor] = self.border(**made)
        return result

    forward.__signature__ = _signature_of(border)  # type: ignore[attr-defined]
    baked: torch.nn.Module = type("Baked", (torch.nn.Module,), {"forward": forward})()
    baked.add_module("border", border)
    baked.training = False
    pixels = {name: _pixels(tensors[name], picture) for name, picture in pictures.items()}
    return baked, {**tensors, **pixels}


def _signature_of(border: torch.nn.Module) -> Any:
    return type(border).forward.__signature__  # type: ignore[attr-defined]


def _check(name: str, tensors: Mapping[str, torch.Tensor], picture: Picture) -> None:
    if name not in tensors:
        raise UsageError(
            f"The processing names the input {name!r}, and the model has none of that name.",
            f"Its inputs: {', '.join(tensors)}.",
        )
    shape = tuple(tensors[name].shape)
    channels = 1 if picture.channels == "gray" else 3
    place = 3 if picture.layout == "nhwc" else 1
    if len(shape) != 4 or shape[0] != 1 or shape[place] != channels:
        raise UsageError(
            f"The input {name!r} of shape {list(shape)} takes no single picture of {channels} "
            f"channels, {picture.layout}, so its processing cannot be baked."
        )
    if not tensors[name].is_floating_point():
        raise UsageError(f"The input {name!r} takes integers; there is nothing to bake.")


def _prepared(pixels: torch.Tensor, picture: Picture, dtype: torch.dtype) -> torch.Tensor:
    """Return the model's own input.

    What comes before the cast only puts pixels in another order: Core ML's format drops it.
    """
    values = pixels.permute(0, 3, 1, 2).contiguous().to(dtype)
    if picture.channels == "bgr":
        values = values.flip(1)
    values = values / picture.divide_by
    if any(picture.mean):
        values = values - _per_channel(values, picture.mean)
    if set(picture.std) != {1.0}:
        values = values / _per_channel(values, picture.std)
    return values.permute(0, 2, 3, 1) if picture.layout == "nhwc" else values


def _pixels(values: torch.Tensor, picture: Picture) -> torch.Tensor:
    """Return the picture that comes nearest to an input of the model's own."""
    import torch

    values = values.permute(0, 3, 1, 2) if picture.layout == "nhwc" else values
    values = values * _per_channel(values, picture.std) + _per_channel(values, picture.mean)
    values = (values * picture.divide_by).round().clamp(0, 255)
    if picture.channels == "bgr":
        values = values.flip(1)
    return values.permute(0, 2, 3, 1).to(torch.uint8).contiguous()


def _per_channel(values: torch.Tensor, numbers: Sequence[float]) -> Any:
    if len(numbers) == 1:
        return numbers[0]
    return values.new_tensor(numbers).reshape(1, -1, 1, 1)
