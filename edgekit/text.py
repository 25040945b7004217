"""Text from elsewhere, made safe to show."""

from __future__ import annotations


def printable(text: str, keep: str = "") -> str:
    r"""Return text whose control and other invisible characters are written out, as ``\x1b``.

    What a device, a file or its name says is shown on terminals; an escape sequence in it must not
    reach one, and a line feed must not make up a line of ours.

    Args:
        text: From anywhere.
        keep: Such characters to leave as they are, where the text is our own but for its parts.
    """
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode()
        for char in text
    )
