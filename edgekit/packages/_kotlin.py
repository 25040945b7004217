"""What the Kotlin wrapper's template speaks of.  It wraps the Java one, and spells it as Kotlin."""

from __future__ import annotations

from typing import Any

from edgekit.packages import Cargo
from edgekit.packages._java import JAVA_NAMES, argument_doc, result_doc
from edgekit.packages._names import camel

_ARGUMENTS = {
    "image": "Picture",
    "log_mel": "FloatArray",
    "tokens": "String",
    "tensor": "FloatArray",
}
_RESULTS = {
    "classes": "List<Scored>",
    "class_map": "ByteArray",
    "boxes": "List<Box>",
    "values": "FloatArray",
}
_KEYWORDS = frozenset(
    """
    as break class continue do else false for fun if in interface is null object package return
    super this throw true try typealias typeof val var when while
    model found variant
    """.split()  # noqa: SIM905
)


def kotlin_values(cargo: Cargo) -> dict[str, Any]:
    """Return all that the template of the wrapper names, but its package and variants."""
    before = [
        {
            "field": camel(step.name, _KEYWORDS),
            "type": _ARGUMENTS[step.kind],
            "doc": argument_doc(step),
        }
        for step in cargo.bound.before
    ]
    after = [
        {
            "field": camel(step.name, _KEYWORDS),
            "java": camel(step.name, JAVA_NAMES),
            "constant": f"{step.name.upper()}_LABELS",
            "labels": step.options.get("labels"),
            "type": _RESULTS[step.kind],
            "doc": result_doc(step),
        }
        for step in cargo.bound.after
    ]
    kinds = {step.kind for step in (*cargo.bound.before, *cargo.bound.after)}
    named = {"image": "Picture", "classes": "Scored", "boxes": "Box"}
    return {
        "card": cargo.card,
        "before": before,
        "after": after,
        "pictures": "image" in kinds,
        "imported": sorted(["Assets", "Engine", *(named[kind] for kind in kinds & set(named))]),
    }
