"""Where the model comes from: a source string becomes a module, its example inputs and metadata.

====================  ==========================================================================
``model.py``          ``build()`` or ``get_model()``, and ``example_inputs()`` or ``get_args()``
``model.py:make``     the callable ``make``
``package.mod:make``  the same, of an importable module
``model.pt2``         a program that ``torch.export.save`` wrote
``folder/``           a Hugging Face model: ``config.json`` and ``model.safetensors``
====================  ==========================================================================

A callable returns the module, or the pair (module, example inputs).  A name may also stand for a
module, or for example inputs, made already.  Random number generators are seeded before the file is
run, so that a source without trained weights is at least the same each time.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from edgekit import pretrained
from edgekit.blame import user_line
from edgekit.errors import SourceError
from edgekit.importing import call_user, import_file, import_name, name_of, on_path, seeded
from edgekit.source import Metadata, Source
from edgekit.weights import load_weights

BUILDERS = ("build", "get_model")
EXAMPLES = ("example_inputs", "get_args")


def load_source(text: str, *, weights: Path | None = None) -> Source:
    """Load a source string; see the table at the top of this module.

    Args:
        text: The source string.
        weights: A ``.safetensors`` file, or a ``.pt``/``.pth`` state dict, to load into the module.

    Raises:
        SourceError: the path, the callable, what it returned or the weights are not right.
        UnavailableError: a package that this kind of source needs is not installed.
    """
    try:
        with seeded():
            source = _loader(text)(text)
    except ModuleNotFoundError as error:
        line = user_line(error)
        raise SourceError(
            f"{text}: the module {error.name!r}, imported{f' at {line}' if line else ''}, "
            "is not installed.",
            "Install the package that provides it, e.g. "
            f"pip install {(error.name or '').partition('.')[0]}",
        ) from error
    if weights is not None:
        load_weights(source.module, weights)
    return replace(source, origin=text)


def _loader(text: str) -> Callable[[str], Source]:
    path = Path(text)
    if path.is_dir():
        return pretrained.load_huggingface
    if path.suffix == ".pt2":
        return pretrained.load_pt2
    if path.suffix in {".pt", ".pth", ".bin", ".pkl", ".ckpt"}:
        raise SourceError(
            f"{text} is a pickle, and opening a pickled module runs whatever code is in it.",
            "Give the code and the weights apart: edgekit convert model.py:build --weights "
            f"{path.name} (a state dict), or save the model with torch.export.save as .pt2.",
        )
    if path.suffix == ".py" or ":" in text:
        return _load_callable
    raise SourceError(
        f"{text} is no model source: there is no such folder, and the name is not of a known kind.",
        "Give file.py, file.py:callable, package.module:callable, model.pt2 or a model folder.",
    )


# -- Python files and modules ----------------------------------------------------------------------


def _load_callable(text: str) -> Source:
    location, name = _split(text)
    from_file = location.endswith(".py")
    folder = Path(location).parent if from_file else Path.cwd()
    with on_path(folder.resolve()):
        module = import_file(Path(location)) if from_file else import_name(location)
        found = _member(module, BUILDERS if name is None else (name,), location)
        built = call_user(found, location) if not _is_model(found) else found
        examples: Any = None
        if isinstance(built, tuple) and len(built) == 2:
            built, examples = built
        if not _is_model(built):
            raise SourceError(
                f"{location}: {name_of(found)}() returned a {type(built).__name__}.",
                "It must return a torch.nn.Module, or the pair (module, example_inputs).",
            )
        given = [getattr(module, each) for each in EXAMPLES if hasattr(module, each)]
        if examples is None and given:
            examples = call_user(given[0], location) if callable(given[0]) else given[0]
    arguments = _as_arguments(examples, location)
    return Source(_unwrapped(built), arguments, _metadata(module, location))


def _split(text: str) -> tuple[str, str | None]:
    """Cut a source string into its place and the name in it; None where no name is given."""
    if text.endswith(".py"):
        return text, None
    cut = text.rfind(".py:")
    location, _, name = (
        (text[: cut + 3], ":", text[cut + 4 :]) if cut >= 0 else text.rpartition(":")
    )
    if not name.isidentifier() or not location:
        raise SourceError(
            f"{text} names no callable.", "Write file.py:callable or package.module:callable."
        )
    return location, name


def _member(module: ModuleType, names: tuple[str, ...], location: str) -> Any:
    for name in names:
        found = getattr(module, name, None)
        if _is_model(found) or (callable(found) and not _required(found)):
            return found
        if callable(found):
            raise SourceError(
                f"{location}: {name}() cannot be called without {', '.join(_required(found))}.",
                "Name a callable that needs no arguments, e.g. a function that makes the model.",
            )
    defined = [
        name
        for name, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", None) == module.__name__
    ]
    raise SourceError(
        f"{location} has no callable {' or '.join(f'{name}()' for name in names)}.",
        f"It defines {', '.join(defined)}: name the right one as {location}:NAME."
        if defined
        else "Define build() in it, returning the module.",
    )


def _required(function: Callable[..., Any]) -> list[str]:
    """Return the names of the parameters that a call must give."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        each.name
        for each in parameters
        if each.default is inspect.Parameter.empty and each.kind not in variadic
    ]


def _is_model(value: Any) -> bool:
    import torch

    return isinstance(value, (torch.nn.Module, torch.export.ExportedProgram))


def _unwrapped(model: Any) -> Any:
    """Take off what training puts around a module."""
    import torch

    if isinstance(model, torch.jit.ScriptModule):
        raise SourceError(
            "The model is a TorchScript module, which torch.export does not take.",
            "Return the module that was scripted or traced.",
        )
    while isinstance(model, (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)):
        model = model.module
    return getattr(model, "_orig_mod", model)  # of torch.compile


def _as_arguments(examples: Any, location: str) -> tuple[Any, ...] | dict[str, Any] | None:
    import torch

    if isinstance(examples, (torch.Tensor, np.ndarray)):
        return (examples,)
    if isinstance(examples, Mapping):
        return dict(examples)
    if isinstance(examples, list):
        return tuple(examples)
    if examples is None or isinstance(examples, tuple):
        return examples
    raise SourceError(
        f"{location}: the example inputs are a {type(examples).__name__}.",
        "Give a tuple of tensors, or a dict by argument name.",
    )


def _metadata(module: ModuleType, location: str) -> Metadata:
    document = (module.__doc__ or "").strip()
    labels = getattr(module, "LABELS", ())
    labels = labels.values() if isinstance(labels, Mapping) else labels
    return Metadata(
        name=Path(location).stem if location.endswith(".py") else location.rpartition(".")[2],
        description=document.splitlines()[0].strip() if document else "",
        author=str(getattr(module, "__author__", "")),
        version=str(getattr(module, "__version__", "")),
        license=str(getattr(module, "__license__", "")),
        labels=tuple(map(str, labels)) if not isinstance(labels, str) else (labels,),
    )
