"""Sources that are files of other kinds: ``.pt2`` programs and Hugging Face folders."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.blame import first_line
from edgekit.errors import SourceError, UnavailableError
from edgekit.importing import call_user
from edgekit.quiet import quiet
from edgekit.source import Arguments, Metadata, Source

if TYPE_CHECKING:
    import torch


def load_pt2(text: str) -> Source:
    """Load a program that ``torch.export.save`` wrote.

    Raises:
        SourceError: there is no such file, or it is damaged.
    """
    import torch

    path = Path(text)
    if not path.is_file():
        raise SourceError(f"There is no file {path}.", "Check the path of the model source.")
    try:
        with quiet():
            exported = torch.export.load(path)
    except Exception as error:
        raise SourceError(
            f"{path} is not a program that torch.export.save wrote: {first_line(error)}",
            "Write it with torch.export.save(torch.export.export(model, inputs), path).",
        ) from error
    args, kwargs = exported.example_inputs or _made_up(exported)
    return Source(exported, Arguments(tuple(args), dict(kwargs)), Metadata(name=path.stem))


def _made_up(exported: torch.export.ExportedProgram) -> Any:
    """Return seeded values of the shapes and types that a program without examples declares."""
    import torch
    from torch.utils import _pytree as pytree

    from edgekit.inputs import random_tensor
    from edgekit.tensors import DType

    nodes = {node.name: node for node in exported.graph.nodes}
    leaves: list[Any] = []
    for spec in exported.graph_signature.input_specs:
        if spec.kind.name != "USER_INPUT":
            continue
        value = nodes[spec.arg.name].meta.get("val")
        if isinstance(value, torch.Tensor):
            dtype = DType(str(value.dtype).partition(".")[2])
            leaves.append(random_tensor(tuple(map(_hint, value.shape)), dtype))
        else:
            leaves.append(getattr(spec.arg, "value", None))
    assert exported.call_spec.in_spec is not None
    return pytree.tree_unflatten(leaves, exported.call_spec.in_spec)


def _hint(size: Any) -> int:
    if isinstance(size, int):
        return size
    hint = size.node.hint
    return int(hint) if hint is not None else 2


def load_huggingface(text: str) -> Source:
    """Load a folder that ``save_pretrained`` wrote, in float32, without the network.

    Raises:
        SourceError: a file is missing or damaged, or it names no known architecture.
        UnavailableError: transformers is not installed.
    """
    folder = Path(text)
    architectures = _architectures(folder)
    if not any(folder.glob("*.safetensors")):
        raise SourceError(
            f"{folder} has no model.safetensors.",
            "Save it with save_pretrained(folder, safe_serialization=True).",
        )
    if importlib.util.find_spec("transformers") is None:
        raise UnavailableError(
            "A Hugging Face folder needs the package transformers.",
            "pip install 'edgekit[huggingface]'",
        )
    with quiet():
        import transformers
    known = (getattr(transformers, name, None) for name in architectures)
    cls = next((each for each in known if hasattr(each, "from_pretrained")), None)
    if cls is None:
        raise SourceError(
            f"{folder / 'config.json'} names no architecture that transformers knows: "
            f"{', '.join(architectures) or 'none'}.",
            'Set "architectures" in it, or write a file.py with build().',
        )
    module = _from_pretrained(cls, folder)
    for option, value in (
        ("return_dict", True),
        ("use_cache", False),
        ("output_attentions", False),
        ("output_hidden_states", False),
    ):
        if hasattr(module.config, option):
            setattr(module.config, option, value)
    return Source(module, _dummy_inputs(module), Metadata(name=folder.resolve().name))


def _architectures(folder: Path) -> list[str]:
    file = folder / "config.json"
    if not file.is_file():
        raise SourceError(
            f"{folder} is a folder without config.json, so no Hugging Face model.",
            "Give a folder that save_pretrained() wrote, or a file.py with build().",
        )
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        return [str(name) for name in config.get("architectures") or []]
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise SourceError(
            f"{file} cannot be read: {first_line(error)}.", "Save the model again."
        ) from error


def _from_pretrained(cls: Any, folder: Path) -> Any:
    """Load every weight of the architecture from the folder, or none."""
    import torch
    from transformers.utils import logging as chatter

    bars, level = chatter.is_progress_bar_enabled(), chatter.get_verbosity()
    chatter.disable_progress_bar()
    chatter.set_verbosity_error()
    try:
        module, report = call_user(
            lambda: cls.from_pretrained(
                folder, local_files_only=True, output_loading_info=True, dtype=torch.float32
            ),
            str(folder),
        )
    finally:
        chatter.set_verbosity(level)
        if bars:
            chatter.enable_progress_bar()
    missing = sorted(map(str, report["missing_keys"])) + sorted(map(str, report["mismatched_keys"]))
    if missing:  # transformers would make them up
        raise SourceError(
            f"{folder}: the weights lack {', '.join(missing[:5])}, which {cls.__name__} needs.",
            'Save the whole model, or set "architectures" in config.json to what was saved.',
        )
    return module


def _dummy_inputs(module: Any) -> dict[str, Any] | None:
    """Return one plausible sample of the model's main input, as far as its config tells."""
    import torch

    name = getattr(module, "main_input_name", "input_ids")
    given = dict(module.dummy_inputs)
    if name in given and name == "input_ids":
        ids = given[name][:1]
        size = getattr(module.config.get_text_config(), "vocab_size", None)
        return {name: ids % size if size else ids}
    if name == "pixel_values":
        config = getattr(module.config, "vision_config", module.config)
        side, channels = getattr(config, "image_size", None), getattr(config, "num_channels", 3)
        if side is None:
            return None
        height, width = (side, side) if isinstance(side, int) else side
        generator = torch.Generator().manual_seed(0)
        return {name: torch.rand((1, channels, height, width), generator=generator)}
    return given if name in given else None
