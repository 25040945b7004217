"""Weights on disk, in the safetensors format: written tensor by tensor, read by mapping.

safetensors' own writer joins all tensors in memory first, which for a large model costs its size
once more; this one streams.  The format: an 8-byte little-endian length, that many bytes of JSON
(name -> dtype, shape, byte range), then the bytes.  Tensors that share storage are stored once; the
names of the others stand in the JSON's ``__metadata__``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import ExportError

if TYPE_CHECKING:
    import torch

_ALIGN = 64


def content(tensor: torch.Tensor) -> memoryview:
    """Return a tensor's elements as bytes, row-major, without a copy where it is contiguous."""
    import torch

    flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    if not flat.numel():
        return memoryview(b"")
    return flat.view(torch.uint8).numpy().data


def write(path: Path, tensors: Mapping[str, torch.Tensor]) -> str:
    """Write tensors to `path`; return the sha256 of names, types, shapes and contents."""
    header, unique = _plan(tensors)
    digest = hashlib.sha256(header)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little"))
        file.write(header)
        for tensor in unique:
            data = content(tensor)
            digest.update(data)
            file.write(data)
    return digest.hexdigest()


def read(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a file that `write` wrote, mapped into memory."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        aliases = json.loads((file.metadata() or {}).get("aliases", "{}"))
    return found | {alias: found[name] for alias, name in aliases.items()}


def unique(tensors: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
    """Return the tensors without those that are another one's memory under a second name."""
    return _shared(tensors)[0]


def _shared(
    tensors: Mapping[str, torch.Tensor],
) -> tuple[list[torch.Tensor], dict[str, torch.Tensor], dict[str, str]]:
    """Return the unique tensors, the same by name, and for every other name that of its twin."""
    first: dict[tuple[Any, ...], str] = {}
    kept: dict[str, torch.Tensor] = {}
    aliases: dict[str, str] = {}
    for name, tensor in tensors.items():
        place = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if tensor.numel() and place in first:
            aliases[name] = first[place]
            continue
        first[place] = name
        kept[name] = tensor
    return list(kept.values()), kept, aliases


def _plan(tensors: Mapping[str, torch.Tensor]) -> tuple[bytes, list[torch.Tensor]]:
    found, kept, aliases = _shared(tensors)
    entries: dict[str, Any] = {}
    offset = 0
    for name, tensor in kept.items():
        size = tensor.numel() * tensor.element_size()
        entries[name] = {
            "dtype": _name_of(tensor, name),
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    entries["__metadata__"] = {"aliases": json.dumps(aliases)}
    header = json.dumps(entries).encode()
    return header + b" " * (-(len(header) + 8) % _ALIGN), found


def _name_of(tensor: torch.Tensor, name: str) -> str:
    kind = str(tensor.dtype).removeprefix("torch.")
    if kind not in _NAMES:
        raise ExportError(
            f"The model's tensor {name!r} is of type {kind}, which cannot be stored.",
            "Convert it to one of the common element types.",
        )
    return _NAMES[kind]


_NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "complex64": "C64",
}
