"""Compilers: what makes an artifact ready for an accelerator, and says what it took.

A compiler module holds::

    FORMATS: tuple[str, ...]                           # what it compiles
    def unavailable() -> UnavailableError | None       # why it cannot run here, and the way out
    def build(model: str, options: Mapping[str, str], folder: str) -> dict   # in a worker process

`build` leaves its file in `folder` and returns plain data: ``compiler`` (name and version),
``file``, ``nodes`` (``name``, ``op``, ``on``, a ``reason`` where a node fell back, ``cycles`` where
they are known) and ``estimate`` (figures by name, with ``leaves_out``: what they do not hold).
"""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgekit import cache, registry, worker
from edgekit.benchmarks import loop
from edgekit.benchmarks.record import BenchmarkRecord, seal
from edgekit.errors import UsageError
from edgekit.hashing import sha256_of, size_of
from edgekit.target import Target

_TIMEOUT = 900.0  # seconds


def estimate(
    path: Path, format_name: str, target: Target, *, output: Path | None = None
) -> BenchmarkRecord:
    """Compile a model for a target and return what the compiler says of it, as a record.

    Nothing has run: the record has an `estimate` and a `placement`, and no samples.

    Args:
        path: The model file.
        format_name: Its format.
        target: One that has a compiler.
        output: File of the record; the compiled model is put beside it.

    Raises:
        UsageError: the compiler takes another format.
        UnavailableError: it is not installed.
        ConversionError: it refused the model, crashed or hung.
    """
    assert target.compiler is not None
    module = registry.load("compilers", target.compiler.name)
    if format_name not in module.FORMATS:
        raise UsageError(
            f"{target.compiler.name} compiles {', '.join(module.FORMATS)}, not {format_name}.",
            f"Convert with --to {target.defaults.format} --recipe {target.defaults.recipe}.",
        )
    reason = module.unavailable()
    if reason is not None:
        raise reason
    run_id = loop.new_run_id()
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        started = worker.start(cache.folder() / "logs" / f"{run_id}.log", temporary=Path(folder))
        request = {
            "model": str(path.absolute()),
            "options": dict(target.compiler.options),
            "folder": folder,
        }
        said = worker.call(started, f"{module.__name__}:build", request, timeout=_TIMEOUT).value
        compiled = Path(said["file"])
        about: dict[str, Any] = {
            "size_bytes": size_of(compiled),
            "sha256": sha256_of(compiled),
            "file": None,
        }
        if output is not None:
            beside = output.with_suffix(f".{target.name}{path.suffix}")
            output.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(compiled, beside)
            about["file"] = beside.name
    worker.discard(started)
    record = BenchmarkRecord(
        path=path,
        sha256=sha256_of(path),
        runtime=said["compiler"],
        note=None,
        threads=0,
        load_s=None,
        first_s=None,
        samples_s=(),
        machine={},
        run_id=run_id,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        artifact={"format": format_name, "size_bytes": size_of(path), "compiled": about},
        target={"name": target.name, "transport": None, "emulated": False},
        job={"scenario": {"name": "estimate"}, "compiler": request["options"]},
        placement={"nodes": said["nodes"]},
        estimate=said["estimate"],
    )
    if output is not None:
        seal(record, output)
    return record
