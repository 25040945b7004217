"""Text from elsewhere, made safe to show."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Return text whose control and other invisible characters are written out, as ``\x1b``.

    What a device, a file or its name says is shown on terminals; an escape sequence in it must not
    reach one, and a line feed must not make up a line of ours.
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
