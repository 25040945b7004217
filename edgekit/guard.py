"""A module in our custody: called and traced, and given back as it came."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from edgekit.errors import ExportError

if TYPE_CHECKING:
    import torch


@contextmanager
def frozen(model: Any) -> Iterator[torch.nn.Module]:
    """Give the module in eval mode and without gradients; put both back afterwards."""
    import torch

    if isinstance(model, torch.export.ExportedProgram):
        yield model.module()
        return
    module: torch.nn.Module = model
    modes = [(each, each.training) for each in module.modules()]
    learning = [each for each in module.parameters() if each.requires_grad]
    try:
        module.eval()
        for parameter in learning:
            parameter.requires_grad_(False)
        yield module
    finally:
        for each, mode in modes:
            each.training = mode
        for parameter in learning:
            parameter.requires_grad_(True)


@contextmanager
def unchanged(module: torch.nn.Module) -> Iterator[None]:
    """Refuse a module that changes what it holds in the block, and undo the change.

    Raises:
        ExportError: it wrote into a parameter, buffer or tensor attribute, or replaced a buffer.
    """
    import torch

    held = [
        (owner, f"{path}.{name}".lstrip("."), name, tensor, version_of(tensor), copied)
        for path, owner in module.named_modules()
        for group, copied in (
            (dict(owner.named_parameters(recurse=False)), False),
            (dict(owner.named_buffers(recurse=False)), True),
            (dict(vars(owner)), True),
        )
        for name, tensor in group.items()
        if _is_plain(tensor)
    ]
    buffers = {name for name, _ in module.named_buffers(remove_duplicate=False)}
    copies = {id(tensor): tensor.clone() for *_, tensor, _, copied in held if copied}
    failure: ExportError | None = None
    try:
        yield
    except ExportError as error:  # most likely the changes are the reason for it
        failure = error
    finally:
        changed = []
        for owner, path, name, tensor, version, copied in held:
            if path in buffers and getattr(owner, name, None) is not tensor:
                setattr(owner, name, tensor)
                changed.append(path)
            if version_of(tensor) != version:
                changed.append(path)
                if copied:
                    with torch.no_grad():
                        tensor.copy_(copies[id(tensor)])
    if changed:
        raise ExportError(
            f"The model changes its own tensor {changed[0]!r} when it is called.",
            "An artifact keeps no state between calls: pass the state in and return it.",
        ) from failure
    if failure is not None:
        raise failure


def _is_plain(tensor: Any) -> bool:
    import torch

    return isinstance(tensor, torch.Tensor) and not torch.nn.parameter.is_lazy(tensor)


def version_of(tensor: torch.Tensor) -> int:
    """Return a number that grows whenever the tensor is written into."""
    return -1 if tensor.is_inference() else tensor._version  # noqa: SLF001 - torch counts writes there
