"""Trained weights from a file into a module, without ever running what the file holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.blame import first_line
from edgekit.errors import SourceError

if TYPE_CHECKING:
    import torch


def load_weights(module: Any, path: Path) -> None:
    """Load a ``.safetensors`` file or a ``.pt``/``.pth`` state dict into a module, strictly.

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
    state = _read_state(path)
    try:
        result = module.load_state_dict(state, strict=False)
    except RuntimeError as error:  # shapes differ; torch lists them below its headline
        details = [line.strip() for line in str(error).splitlines()[1:] if line.strip()]
        raise SourceError(
            f"{path} does not fit the model: {details[0] if details else first_line(error)}",
            "Check that these weights were saved from this very architecture.",
        ) from error
    problems = [
        f"{what} {_some(keys)}"
        for what, keys in (("misses", result.missing_keys), ("has unknown", result.unexpected_keys))
        if keys
    ]
    if problems:
        raise SourceError(
            f"{path} does not fit the model: it {' and '.join(problems)}.",
            "Check that these weights were saved from this very architecture.",
        )


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
        raise SourceError(
            f"{path} cannot be read as weights: "
            + ("it holds a pickled module or other code." if pickled else first_line(error)),
            "Save a state dict instead: torch.save(model.state_dict(), path), "
            "or safetensors.torch.save_file(model.state_dict(), path).",
        ) from error
    for key in ("state_dict", "model_state_dict", "model"):  # as training frameworks nest it
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping):
        raise SourceError(f"{path} holds a {type(state).__name__}, not a state dict.")
    return state


def _some(keys: list[str], limit: int = 5) -> str:
    shown = ", ".join(keys[:limit])
    return shown if len(keys) <= limit else f"{shown} and {len(keys) - limit} more"
