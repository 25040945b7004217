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

if TYPE_CHECKING:
    import torch

_ALIGN = 64


def content(tensor: torch.Tensor) -> memoryview:
    """Return a tensor's elements as bytes, row-major, without a copy where it is contiguous."""
    import torch

    flat = tensor.detach().cpu().contiguous().reshape(-1)
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


def _plan(tensors: Mapping[str, torch.Tensor]) -> tuple[bytes, list[torch.Tensor]]:
    entries: dict[str, Any] = {}
    aliases: dict[str, str] = {}
    first: dict[tuple[Any, ...], str] = {}
    unique: list[torch.Tensor] = []
    offset = 0
    for name, tensor in tensors.items():
        place = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if tensor.numel() and place in first:
            aliases[name] = first[place]
            continue
        first[place] = name
        size = tensor.numel() * tensor.element_size()
        entries[name] = {
            "dtype": _NAMES[str(tensor.dtype).removeprefix("torch.")],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + size],
        }
        unique.append(tensor)
        offset += size
    entries["__metadata__"] = {"aliases": json.dumps(aliases)}
    header = json.dumps(entries).encode()
    return header + b" " * (-(len(header) + 8) % _ALIGN), unique


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
    "complex64": "C64",
}
