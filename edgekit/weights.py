"""Trained weights from a file into a module, without ever running what the file holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.blame import first_line
from edgekit.errors import SourceError

if TYPE_CHECKING:
    import torch

NESTS = ("state_dict", "model_state_dict", "model")  # where training frameworks put the weights
WRAPPERS = ("module.", "_orig_mod.", "model.")  # of DataParallel, torch.compile and Lightning
_HINT = "Check that these weights were saved from this very architecture."


def load_weights(module: Any, path: Path) -> None:
    """Load a ``.safetensors`` file or a ``.pt``/``.pth`` state dict into a module, strictly.

    A prefix that a training wrapper put before every key is taken off when the keys fit then.
    A key may be missing only where its tensor is tied to one that is there.

    Raises:
        SourceError: the file is missing, damaged or a pickled module, or its keys or shapes do not
            fit the module.
    """
    import torch

    if not isinstance(module, torch.nn.Module):
        raise SourceError(
            "--weights does not go with a .pt2 source, which holds its own weights.",
            "Leave --weights out, or give the Python source.",
        )
    state = _unwrapped(_read_state(path), set(module.state_dict()))
    try:
        result = module.load_state_dict(state, strict=False)
    except RuntimeError as error:  # shapes differ; torch lists them below its headline
        details = [line.strip() for line in str(error).splitlines()[1:] if line.strip()]
        reason = (details[0] if details else first_line(error)).rstrip(".")
        raise SourceError(f"{path} does not fit the model: {reason}.", _HINT) from error
    missing = _untied(module, result.missing_keys)
    problems = [
        f"{what} {_some(keys)}"
        for what, keys in (("misses", missing), ("has unknown", result.unexpected_keys))
        if keys
    ]
    if problems:
        raise SourceError(f"{path} does not fit the model: it {' and '.join(problems)}.", _HINT)


def _read_state(path: Path) -> Mapping[str, torch.Tensor]:
    import torch

    if not path.is_file():
        raise SourceError(f"There is no weights file {path}.", "Check the path after --weights.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)  # type: ignore[no-any-return]
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        pickled = "weights_only" in str(error) or "Unsupported" in str(error)
        reason = "it holds a pickled module or other code" if pickled else first_line(error)
        raise SourceError(
            f"{path} cannot be read as weights: {reason.rstrip('.')}.",
            "Save a state dict instead: torch.save(model.state_dict(), path), "
            "or safetensors.torch.save_file(model.state_dict(), path).",
        ) from error
    for key in NESTS:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping):
        raise SourceError(
            f"{path} holds a {type(state).__name__}, not a state dict.",
            "Save one with torch.save(model.state_dict(), path).",
        )
    odd = [key for key in state if not isinstance(key, str)]
    if odd:
        raise SourceError(
            f"{path} is no state dict: one of its keys is {odd[0]!r}.",
            "Save one with torch.save(model.state_dict(), path).",
        )
    return state


def _unwrapped(state: Mapping[str, torch.Tensor], wanted: set[str]) -> Mapping[str, torch.Tensor]:
    """Take wrappers' prefixes off the keys, if that makes every key one of the module's."""
    keys = list(state)
    while keys and not wanted.issuperset(keys):
        prefix = next((p for p in WRAPPERS if all(key.startswith(p) for key in keys)), None)
        if prefix is None:
            return state
        keys = [key.removeprefix(prefix) for key in keys]
    return dict(zip(keys, state.values(), strict=True))


def _untied(module: torch.nn.Module, missing: list[str]) -> list[str]:
    """Leave out what shares its memory with a tensor that was loaded."""
    if not missing:
        return []
    tensors = module.state_dict(keep_vars=True)
    loaded = {_place(each) for name, each in tensors.items() if name not in set(missing)}
    return [name for name in missing if _place(tensors[name]) not in loaded]


def _place(tensor: torch.Tensor) -> tuple[Any, ...]:
    # an empty tensor has no address, and so is tied to nothing
    where = tensor.data_ptr() if tensor.numel() else id(tensor)
    return where, tensor.shape, tensor.stride(), tensor.dtype


def _some(keys: list[str], limit: int = 5) -> str:
    shown = ", ".join(keys[:limit])
    return shown if len(keys) <= limit else f"{shown} and {len(keys) - limit} more"
