"""Containers of packages: written in one form only, and read without trusting them.

Every archive has one form: entries sorted by path, stored and not compressed, with one time and one
mode.  So the same files are the same bytes wherever they are written, models can be mapped into
memory, and no archive can unpack to more than its own size.  Reading writes the archive again and
compares: whatever is not in its one form is refused.
"""

from __future__ import annotations

import calendar
import io
import os
import stat
import time
import zipfile
from pathlib import Path, PurePosixPath

from edgekit.errors import ArtifactError, UsageError
from edgekit.packages import Files, _deb

EARLIEST = 315_532_800
"""1980-01-01, the first moment that a zip archive can name."""
LARGEST = 4 << 30
"""Bytes; an archive above 4 GiB has another form."""


def build_time() -> int:
    """Return the time that archives carry: SOURCE_DATE_EPOCH, or the earliest possible.

    Raises:
        UsageError: SOURCE_DATE_EPOCH is not a number of seconds.
    """
    given = os.environ.get("SOURCE_DATE_EPOCH", str(EARLIEST))
    if not given.isdigit():
        raise UsageError(f"SOURCE_DATE_EPOCH is {given!r}, not a number of seconds.")
    return max(EARLIEST, int(given)) // 2 * 2  # zip counts in steps of two seconds


def write(path: Path, container: str, files: Files) -> None:
    """Write a package's files: ``zip``, ``deb``, or a new ``folder``."""
    _check_names(path, list(files))
    if container != "folder":
        written = {"zip": zip_bytes, "deb": _deb.deb_bytes}[container](files, build_time())
        path.write_bytes(written)
        return
    for name in sorted(files):
        place = path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(files[name])


def read(path: Path) -> Files:
    """Return the files of a package.

    Raises:
        ArtifactError: it is damaged, unsafe, or not in its one form.
    """
    if path.is_dir():
        return read_folder(path)
    raw = _bounded(path)
    return undebbed(path, raw) if raw.startswith(_deb.MAGIC) else unzipped(path, raw)


def zip_bytes(files: Files, when: int) -> bytes:
    """Return a zip archive in its one form."""
    buffer = io.BytesIO()
    moment = time.gmtime(when)[:6]
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, moment)
            info.create_system = 3
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, files[name])
    return buffer.getvalue()


def unzipped(path: Path | str, raw: bytes) -> Files:
    """Return the files of a zip archive.

    Args:
        path: What to call it in messages.
        raw: The archive.

    Raises:
        ArtifactError: it is damaged, unsafe, or not in its one form.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            entries = archive.infolist()
            for entry in entries:
                _check_entry(path, entry)
            _check_names(path, [entry.filename for entry in entries])
            files = {entry.filename: archive.read(entry) for entry in entries}
            dates = {entry.date_time for entry in entries}
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError) as error:
        raise ArtifactError(f"{path} is not a whole zip archive: {error}.") from None
    when = [_seconds(path, date) for date in dates] or [EARLIEST]
    if len(when) != 1 or zip_bytes(files, when[0]) != raw:
        raise _other_form(path)
    return files


def undebbed(path: Path | str, raw: bytes) -> Files:
    """Return the files of a Debian package; arguments and errors are those of `unzipped`."""
    files, when = _deb.parsed(str(path), raw)
    _check_names(path, list(files))
    if _deb.deb_bytes(files, when) != raw:
        raise _other_form(path)
    return files


def _other_form(path: Path | str) -> ArtifactError:
    return ArtifactError(
        f"{path} holds bytes that edgekit does not write: its entries or their headers were "
        "changed."
    )


def read_folder(path: Path) -> Files:
    """Return the files of a folder.

    Raises:
        ArtifactError: it has links or other things that are no plain files.
    """
    files, total = {}, 0
    for folder, folders, names in os.walk(path):
        for name in (*folders, *names):
            entry = Path(folder, name)
            mode = entry.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise ArtifactError(f"{entry} is a link or a device, not a plain file.")
            if stat.S_ISREG(mode):
                total += entry.stat().st_size
                if total > LARGEST:
                    raise ArtifactError(f"{path} holds more than {LARGEST >> 30} GiB.")
                files[entry.relative_to(path).as_posix()] = entry.read_bytes()
    _check_names(path, list(files))
    return files


def _bounded(path: Path) -> bytes:
    if path.is_symlink():
        raise ArtifactError(f"{path} is a link.", "Check the file that it points to.")
    if path.stat().st_size > LARGEST:
        raise ArtifactError(f"{path} is larger than {LARGEST >> 30} GiB.")
    return path.read_bytes()


def _check_entry(path: Path | str, entry: zipfile.ZipInfo) -> None:
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise ArtifactError(f"{path}: {entry.filename!r} is a link.")
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
        raise ArtifactError(
            f"{path}: {entry.filename!r} is compressed, so its size is not known before unpacking."
        )


def _check_names(path: Path | str, names: list[str]) -> None:
    """Refuse names that lead out of the folder, or that two systems read differently."""
    for name in names:
        parts = PurePosixPath(name).parts
        safe = name.isprintable() and not set(name) & set('\\:*?"<>|')
        if not safe or name.startswith("/") or ".." in parts or "/".join(parts) != name:
            raise ArtifactError(f"{path}: the name {name!r} is not a plain relative path.")
    folded = {name.casefold() for name in names}
    if len(folded) != len(names):
        raise ArtifactError(f"{path}: two entries have the same name.")


def _seconds(path: Path | str, date: tuple[int, int, int, int, int, int]) -> int:
    try:
        return calendar.timegm((*date, 0, 0, 0))
    except (ValueError, OverflowError):
        raise ArtifactError(f"{path}: an entry has an impossible time.") from None
