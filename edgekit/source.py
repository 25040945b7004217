"""A model before it is exported: the module, how to call it, and what it says of itself.

`edgekit.loading` makes one of a source string.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


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
class Arguments:
    """The arguments of one call, as Python passes them."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """A loaded model, ready to export.

    Attributes:
        module: The model (``torch.nn.Module``, or an ``ExportedProgram`` from a ``.pt2`` file).
        examples: Arguments of one call: a tuple in calling order, a dict by name, or both as
            `Arguments`; None when the source brings none.
        metadata: Name, description, author, version and labels, as far as the source tells.
        origin: The source string, for the record.
    """

    module: Any
    examples: tuple[Any, ...] | dict[str, Any] | Arguments | None
    metadata: Metadata = field(default_factory=Metadata)
    origin: str = "memory"
