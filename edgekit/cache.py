"""Finished conversions, kept by what they were made from.

``artifacts/<key>/`` holds an artifact and its record; the key is the sha256 of the program, recipe,
options, samples and toolchain.  ``sources/<key>.json`` remembers which program a source string gave
and every file that was read on the way, with its sha256: while none has changed, the source need
not be loaded to know its program.  Whatever does not check out is dropped and made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from edgekit.errors import ArtifactError, EdgekitError
from edgekit.hashing import sha256_of, size_of

_LOGS = 50
DEFAULT_LIMIT = 20 * 2**30  # bytes; EDGEKIT_CACHE_LIMIT overrules it


def folder() -> Path:
    """Return the cache folder: ``EDGEKIT_CACHE``, else ``edgekit`` in the user's cache folder."""
    given = os.environ.get("EDGEKIT_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgekit"


def key_of(parts: dict[str, Any]) -> str:
    """Return the full sha256 of plain data, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@cache
def own_code() -> str:
    """Return the sha256 of edgekit's own source: other code may convert otherwise."""
    digest = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted((*root.rglob("*.py"), *root.rglob("*.toml"))):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def working_folder() -> Path:
    """Make and return a new folder for the intermediate files of one run."""
    with _writing("work") as parent:
        return Path(tempfile.mkdtemp(dir=parent))


def log_file(who: str) -> Path:
    """Return the path of a new log; only the newest logs of failed runs are kept."""
    with _writing("logs") as parent:
        for old in sorted(parent.glob("*.log"), key=lambda path: path.stat().st_mtime)[:-_LOGS]:
            old.unlink(missing_ok=True)
    return parent / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{who}.log"


@contextlib.contextmanager
def _writing(name: str) -> Iterator[Path]:
    """Make and yield a folder of the cache that no run can do without."""
    parent = folder() / name
    try:
        parent.mkdir(parents=True, exist_ok=True)
        yield parent
    except OSError as error:
        raise EdgekitError(
            f"The cache folder {parent} cannot be written: {error.strerror}.",
            "Set EDGEKIT_CACHE to a folder that can.",
        ) from error


def _seal(data: dict[str, Any]) -> str:
    """Return plain data as JSON, with its own sha256."""
    return json.dumps({"sha256": key_of(data), "data": data})


def _unseal(text: str) -> dict[str, Any]:
    """Return the data of `_seal`, or raise a ValueError when a bit of it has changed."""
    sealed = json.loads(text)
    data: dict[str, Any] = sealed["data"]
    if key_of(data) != sealed["sha256"]:
        raise ValueError("damaged")
    return data


# -- Artifacts -------------------------------------------------------------------------------------


def find(key: str) -> tuple[Path, dict[str, Any]] | None:
    """Return a finished conversion's file and record, or None; a damaged one is dropped."""
    entry = folder() / "artifacts" / key
    try:
        record = _unseal((entry / "record.json").read_text())
        path = entry / record["file"]
        expected = {record["file"]: record["sha256"], **record["companions"]}
        if all(sha256_of(entry / name) == sha for name, sha in expected.items()):
            os.utime(entry)  # the least recently used go first
            return path, record
    except FileNotFoundError:
        if not entry.exists():
            return None
    except (OSError, ValueError, KeyError, TypeError, ArtifactError):
        pass
    shutil.rmtree(entry, ignore_errors=True)
    return None


def store(key: str, files: Iterable[Path], record: dict[str, Any]) -> None:
    """Keep a finished conversion; a cache that cannot be written is no error."""
    parent = folder() / "artifacts"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=parent, prefix=".draft-"))
    except OSError:
        return
    try:
        for file in files:
            copy(file, draft / file.name)
        (draft / "record.json").write_text(_seal(record))
        draft.replace(parent / key)
    except OSError:
        shutil.rmtree(draft, ignore_errors=True)
    _prune(parent)


def copy(source: Path, destination: Path) -> None:
    """Copy a file or a folder."""
    if source.is_dir():
        shutil.copytree(source, destination)
    else:
        shutil.copyfile(source, destination)


def _prune(parent: Path) -> None:
    """Drop the least recently used entries until the cache is within its limit."""
    limit = int(os.environ.get("EDGEKIT_CACHE_LIMIT") or DEFAULT_LIMIT)
    with contextlib.suppress(OSError, ArtifactError):
        entries = sorted(parent.iterdir(), key=lambda entry: entry.stat().st_mtime, reverse=True)
        total = 0
        for entry in entries:
            total += size_of(entry)
            if total > limit:
                shutil.rmtree(entry, ignore_errors=True)


# -- Sources ---------------------------------------------------------------------------------------


def recall(key: str) -> dict[str, Any] | None:
    """Return what a source gave before, if every file that it read is still the same."""
    try:
        memo = _unseal((folder() / "sources" / f"{key}.json").read_text())
        same = all(sha256_of(Path(name)) == sha for name, sha in memo["files"].items())
    except (OSError, ValueError, KeyError, TypeError, ArtifactError):
        return None
    return memo["program"] if same else None


def remember(key: str, program: dict[str, Any], files: Iterable[Path]) -> None:
    """Keep what a source gave, and the files it was read from."""
    memo = {"program": program, "files": {str(path): sha256_of(path) for path in files}}
    path = folder() / "sources" / f"{key}.json"
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(_seal(memo))
        draft.replace(path)
