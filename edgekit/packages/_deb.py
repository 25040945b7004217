"""Debian packages, written in one form only: an ar archive of two tar archives.

In a package's files, those below ``DEBIAN/`` are for dpkg, and all others are where they will lie
on the system.  Nothing is compressed, everything is root's, files have mode 0644, folders 0755.
The format is that of deb(5).
"""

from __future__ import annotations

import io
import tarfile
from pathlib import PurePosixPath

from edgekit.errors import ArtifactError
from edgekit.packages import Files

CONTROL = "DEBIAN/"
MAGIC = b"!<arch>\n"
_VERSION = b"2.0\n"
_MEMBERS = ("debian-binary", "control.tar", "data.tar")
_HEADER = 60
"""Bytes before each member of an ar archive."""


def deb_bytes(files: Files, when: int) -> bytes:
    """Return a Debian package in its one form."""
    control = {
        name.removeprefix(CONTROL): content
        for name, content in files.items()
        if name.startswith(CONTROL)
    }
    data = {name: content for name, content in files.items() if not name.startswith(CONTROL)}
    contents = (_VERSION, _tar_bytes(control, when), _tar_bytes(data, when))
    return MAGIC + b"".join(
        _member(name, content, when) for name, content in zip(_MEMBERS, contents, strict=True)
    )


def parsed(path: str, raw: bytes) -> tuple[Files, int]:
    """Return the files of a Debian package, and its time.

    Whether it is in its one form is for the caller to ask.

    Args:
        path: What to call it in messages.
        raw: The package.

    Raises:
        ArtifactError: it is damaged, or holds other things than plain files and folders.
    """
    members, when, place = {}, 0, len(MAGIC)
    while place < len(raw):
        header = raw[place : place + _HEADER]
        fields = header[16:28].strip(), header[48:58].strip()
        if header[-2:] != b"`\n" or not all(field.isdigit() for field in fields):
            raise ArtifactError(f"{path} is not a whole Debian package: a header is damaged.")
        when, size = map(int, fields)
        place += _HEADER
        members[header[:16].decode("latin-1").strip()] = raw[place : place + size]
        place += size + size % 2
    if tuple(members) != _MEMBERS:
        raise ArtifactError(
            f"{path} has members that edgekit does not write: {', '.join(map(repr, members))}.",
            "Its tar archives are not compressed, so that their size is known before unpacking.",
        )
    control, data = (_untarred(path, members[name]) for name in _MEMBERS[1:])
    return {CONTROL + name: content for name, content in control.items()} | data, when


def _member(name: str, content: bytes, when: int) -> bytes:
    header = f"{name:<16}{when:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n"
    return header.encode() + content + b"\n" * (len(content) % 2)


def _tar_bytes(files: Files, when: int) -> bytes:
    buffer = io.BytesIO()
    folders = {str(parent) for name in files for parent in PurePosixPath(name).parents}
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(folders | {"."} | set(files)):
            info = tarfile.TarInfo(f"./{name}" if name != "." else ".")
            info.mtime, info.uname, info.gname = when, "root", "root"
            if name in files:
                info.mode, info.size = 0o644, len(files[name])
                archive.addfile(info, io.BytesIO(files[name]))
            else:
                info.mode, info.type = 0o755, tarfile.DIRTYPE
                archive.addfile(info)
    return buffer.getvalue()


def _untarred(path: str, raw: bytes) -> Files:
    files: Files = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as archive:
            for entry in archive:
                if not (entry.isreg() or entry.isdir()):
                    raise ArtifactError(f"{path}: {entry.name!r} is a link or a device.")
                if entry.isdir():
                    continue
                name = entry.name.removeprefix("./")
                if name in files:
                    raise ArtifactError(f"{path}: two entries have the same name.")
                content = archive.extractfile(entry)
                files[name] = content.read() if content is not None else b""
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise ArtifactError(f"{path} is not a whole Debian package: {error}.") from None
    return files
