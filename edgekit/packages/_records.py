"""Benchmark records, as `edgekit benchmark --json` writes them, for the manifest."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgekit.errors import UsageError


def read_records(paths: Iterable[str | Path], known: set[str]) -> list[dict[str, Any]]:
    """Return the records in files, without paths of the maker's machine.

    Args:
        paths: The files.
        known: sha256 of the artifacts; each file must have a record of one of them.

    Raises:
        UsageError: a file holds no records, or only those of other artifacts.
    """
    found = []
    for path in map(Path, paths):
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            records = [dict(each) for each in (data if isinstance(data, list) else [data])]
            belongs = any(record["sha256"] in known for record in records)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{path} holds no benchmark records: {error!r}.",
                "Write it with edgekit benchmark --json.",
            ) from None
        if not belongs:
            raise UsageError(
                f"The records in {path} are of other files than those packaged.",
                "Measure the artifacts as they are.",
            )
        found += [{**record, "path": Path(record["path"]).name} for record in records]
    return found
