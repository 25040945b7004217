"""Names as the languages of apps spell them."""

from __future__ import annotations

from collections.abc import Set as AbstractSet


def camel(name: str, taken: AbstractSet[str]) -> str:
    """Return ``mel_image`` as ``melImage``; a name that is `taken` gets an underscore."""
    first, *rest = name.split("_")
    field = first + "".join(part.capitalize() for part in rest)
    return f"{field}_" if field in taken else field
