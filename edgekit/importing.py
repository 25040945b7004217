"""Run the user's code: import it from where it lies, call it, and blame it where it fails."""

from __future__ import annotations

import importlib
import importlib.util
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from edgekit.blame import first_line, is_users, user_line
from edgekit.errors import EdgekitError, SourceError

SEED = 0


@contextmanager
def seeded() -> Iterator[None]:
    """Seed every generator that a model may draw weights from; leave the caller's as they were."""
    import torch

    python, legacy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(SEED)
        np.random.seed(SEED)
        torch.manual_seed(SEED)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)


@contextmanager
def on_path(folder: Path) -> Iterator[None]:
    """Let imports find what lies in `folder`, and nothing of the same name from another project."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__dict__", {}).get("__file__")
        if "." in name or not isinstance(file, str) or not is_users(file):
            continue
        local = [folder / f"{name}.py", folder / name / "__init__.py"]
        if Path(file).resolve() not in local and any(path.is_file() for path in local):
            for each in [
                each for each in sys.modules if each == name or each.startswith(name + ".")
            ]:
                del sys.modules[each]
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        with suppress(ValueError):
            sys.path.remove(str(folder))


def import_file(path: Path) -> ModuleType:
    """Import a file by its path.

    Raises:
        SourceError: there is no such file, it cannot be read, or running it fails.
    """
    if not path.is_file():
        raise SourceError(f"There is no file {path}.", "Check the path of the model source.")
    try:
        path.read_bytes()
    except OSError as error:
        raise SourceError(
            f"{path} cannot be read: {error.strerror}.", "Check who may read it, and the disk."
        ) from error
    known = getattr(sys.modules.get(path.stem), "__file__", None)
    taken = path.stem in sys.modules and not (known and is_users(known))
    name = f"edgekit_source_{path.stem}" if taken else path.stem  # never in a library's place
    spec = importlib.util.spec_from_file_location(name, path.absolute())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pickles and dataclasses look their module up
    try:
        call_user(lambda: spec.loader.exec_module(module), str(path))  # type: ignore[union-attr]
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def import_name(name: str) -> ModuleType:
    """Import a module by its dotted name.

    Raises:
        SourceError: there is no such module, or running it fails.
    """
    try:
        if not all(part.isidentifier() for part in name.split(".")):
            raise ModuleNotFoundError(name=name)
        module: ModuleType = call_user(lambda: importlib.import_module(name), name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise SourceError(
                f"There is no Python module {name!r}.",
                "Check its name, and that it can be imported from this folder.",
            ) from error
        raise
    return module


def call_user(function: Callable[[], Any], location: str) -> Any:
    """Call the user's code; whatever it raises is reported as theirs, with their line.

    Raises:
        SourceError: it failed.
        ModuleNotFoundError: it needs a module that is not installed.
    """
    try:
        return function()
    except (EdgekitError, ModuleNotFoundError):
        raise
    except (Exception, SystemExit) as error:
        line = user_line(error)
        reason = f"{type(error).__name__}: {first_line(error)}"
        relative = isinstance(error, ImportError) and "relative import" in str(error)
        raise SourceError(
            f"{location}: {name_of(function)} failed{f' at {line}' if line else ''}: "
            + ("the code calls sys.exit()" if isinstance(error, SystemExit) else reason),
            "Import it as part of its package: package.module:callable."
            if relative
            else "Run that file by itself; -v shows the whole traceback.",
        ) from error


def name_of(function: Callable[..., Any]) -> str:
    """Return what to call a callable in a message."""
    name = str(getattr(function, "__name__", "it"))
    return "the import" if name == "<lambda>" else name
