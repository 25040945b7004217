"""Where the model comes from: a source string becomes a module, its example inputs and metadata.

====================  ==========================================================================
``model.py``          ``build()`` or ``get_model()``, and ``example_inputs()`` or ``get_args()``
``model.py:make``     the callable ``make``
``package.mod:make``  the same, of an importable module
``model.pt2``         a program that ``torch.export.save`` wrote
``folder/``           a Hugging Face model: ``config.json`` and ``model.safetensors``
====================  ==========================================================================

A callable returns the module, or the pair (module, example inputs).  Random number generators are
seeded before it is called, so that a source without trained weights is at least the same each time.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from edgekit.blame import first_line, user_line
from edgekit.errors import EdgekitError, SourceError, UnavailableError
from edgekit.weights import load_weights

if TYPE_CHECKING:
    import torch

BUILDERS = ("build", "get_model")
EXAMPLES = ("example_inputs", "get_args")
SEED = 0


@dataclass(frozen=True)
class Metadata:
    """What an artifact says of itself to whoever opens it."""

    name: str = "model"
    description: str = ""
    author: str = ""
    version: str = ""
    license: str = ""
    labels: tuple[str, ...] = ()

    def items(self) -> dict[str, str]:
        """Return the non-empty fields as text, labels one a line."""
        fields = {**vars(self), "labels": "\n".join(self.labels)}
        return {key: value for key, value in fields.items() if value}


@dataclass(frozen=True)
class Source:
    """A loaded model, ready to export.

    Attributes:
        module: The model (``torch.nn.Module``, or an ``ExportedProgram`` from a ``.pt2`` file).
        examples: Arguments of one call: a tuple in calling order or a dict by name; None when the
            source brings none.
        metadata: Name, description, author, version and labels, as far as the source tells.
        origin: The source string, for the record.
    """

    module: Any
    examples: tuple[Any, ...] | dict[str, Any] | None
    metadata: Metadata = field(default_factory=Metadata)
    origin: str = "memory"


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
        source = _loader(text)(text)
    except ModuleNotFoundError as error:
        raise SourceError(
            f"{text}: importing it needs the module {error.name!r}, which is not installed.",
            f"pip install {(error.name or '').partition('.')[0]}",
        ) from error
    if weights is not None:
        load_weights(source.module, weights)
    return replace(source, origin=text)


def _loader(text: str) -> Callable[[str], Source]:
    path = Path(text)
    if path.is_dir():
        return _load_huggingface
    if path.suffix == ".pt2":
        return _load_pt2
    if path.suffix in {".pt", ".pth", ".bin", ".pkl", ".ckpt"}:
        raise SourceError(
            f"{text} is a pickle, and opening a pickled module runs whatever code is in it.",
            "Give the code and the weights apart: edgekit convert model.py:build --weights "
            f"{path.name} (a state dict), or save the model with torch.export.save as .pt2.",
        )
    if path.suffix == ".py" or ".py:" in text or ":" in text:
        return _load_callable
    raise SourceError(
        f"{text} is no model source: there is no such folder, and the name is not of a known kind.",
        "Give file.py, file.py:callable, package.module:callable, model.pt2 or a model folder.",
    )


# -- Python files and modules ----------------------------------------------------------------------


def _load_callable(text: str) -> Source:
    import torch

    location, _, name = text.partition(":") if ".py:" not in text else text.rpartition(":")
    module = _import_file(Path(location)) if location.endswith(".py") else _import_name(location)
    builder = _callable(module, (name,) if name else BUILDERS, location)
    torch.manual_seed(SEED)
    built = _call_user(builder, location)
    examples: Any = None
    if isinstance(built, tuple) and len(built) == 2:
        built, examples = built
    if not isinstance(built, torch.nn.Module):
        raise SourceError(
            f"{location}: {_name(builder)}() returned a {type(built).__name__}.",
            "It must return a torch.nn.Module, or the pair (module, example_inputs).",
        )
    if examples is None:
        given = [getattr(module, each) for each in EXAMPLES if hasattr(module, each)]
        examples = _call_user(given[0], location) if given else None
    return Source(built, _as_arguments(examples, location), _metadata(module, location))


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise SourceError(f"There is no file {path}.", "Check the path of the model source.")
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module  # pickles and dataclasses look their module up
        _call_user(lambda: spec.loader.exec_module(module), str(path))  # type: ignore[union-attr]
    finally:
        sys.path.pop(0)
    return module


def _import_name(name: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise SourceError(
                f"There is no Python module {name!r}.",
                "Check its name, and that it can be imported from this folder.",
            ) from error
        raise
    finally:
        sys.path.pop(0)


def _callable(module: ModuleType, names: tuple[str, ...], location: str) -> Callable[[], Any]:
    for name in names:
        found = getattr(module, name, None)
        if callable(found):
            return found  # type: ignore[no-any-return]
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


def _call_user(function: Callable[[], Any], location: str) -> Any:
    """Call the user's code; whatever it raises is reported as theirs, with their line."""
    try:
        return function()
    except (EdgekitError, ModuleNotFoundError):
        raise
    except Exception as error:
        line = user_line(error)
        raise SourceError(
            f"{location}: {_name(function)} failed{f' at {line}' if line else ''}: "
            f"{type(error).__name__}: {first_line(error)}",
            "Run that file by itself; -v shows the whole traceback.",
        ) from error


def _name(function: Callable[..., Any]) -> str:
    name = getattr(function, "__name__", "it")
    return "the import" if name == "<lambda>" else name


def _as_arguments(examples: Any, location: str) -> tuple[Any, ...] | dict[str, Any] | None:
    import torch

    if isinstance(examples, torch.Tensor):
        return (examples,)
    if isinstance(examples, list):
        return tuple(examples)
    if examples is None or isinstance(examples, (tuple, dict)):
        return examples
    raise SourceError(
        f"{location}: the example inputs are a {type(examples).__name__}.",
        "Give a tuple of tensors, or a dict by argument name.",
    )


def _metadata(module: ModuleType, location: str) -> Metadata:
    document = (module.__doc__ or "").strip()
    labels = getattr(module, "LABELS", ())
    return Metadata(
        name=Path(location).stem if location.endswith(".py") else location.rpartition(".")[2],
        description=document.splitlines()[0].strip() if document else "",
        author=str(getattr(module, "__author__", "")),
        version=str(getattr(module, "__version__", "")),
        license=str(getattr(module, "__license__", "")),
        labels=tuple(map(str, labels)),
    )


# -- Files of other kinds --------------------------------------------------------------------------


def _load_pt2(text: str) -> Source:
    import torch

    path = Path(text)
    if not path.is_file():
        raise SourceError(f"There is no file {path}.", "Check the path of the model source.")
    try:
        exported = torch.export.load(path)
    except Exception as error:
        raise SourceError(
            f"{path} is not a program that torch.export.save wrote: {first_line(error)}",
            "Write it with torch.export.save(torch.export.export(model, inputs), path).",
        ) from error
    examples: tuple[Any, ...] | dict[str, Any] | None = None
    if exported.example_inputs is not None:
        positional, named = exported.example_inputs
        examples = tuple(positional) if not named else {**_names(exported, positional), **named}
    return Source(exported, examples, Metadata(name=path.stem))


def _names(exported: torch.export.ExportedProgram, positional: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip(exported.graph_signature.user_inputs, positional, strict=False))


def _load_huggingface(text: str) -> Source:
    import json

    folder = Path(text)
    config_file = folder / "config.json"
    if not config_file.is_file():
        raise SourceError(
            f"{folder} is a folder without config.json, so no Hugging Face model.",
            "Give a folder that save_pretrained() wrote, or a file.py with build().",
        )
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
    import transformers

    transformers.logging.set_verbosity_error()
    names = json.loads(config_file.read_text()).get("architectures") or []
    cls = next((getattr(transformers, name) for name in names if hasattr(transformers, name)), None)
    if cls is None:
        raise SourceError(
            f"{config_file} names no architecture that transformers knows: {names or 'none'}.",
            'Set "architectures" in it, or write a file.py with build().',
        )
    module = _call_user(lambda: cls.from_pretrained(folder, local_files_only=True), text)
    module.config.return_dict = True
    for option in ("use_cache", "output_attentions", "output_hidden_states"):
        if hasattr(module.config, option):
            setattr(module.config, option, False)
    return Source(module, dict(module.dummy_inputs), Metadata(name=folder.resolve().name))
