"""What an app does before and after the model: the reference, in numpy and nothing else.

This folder is also shipped, as it is, inside the Python packages that edgekit makes.  Wrappers in
other languages are held against it.  All arithmetic is done in float64 in the order written here;
only a finished tensor is rounded to the model's element type.

Before the model: `image`, `log_mel`, `tokens` and `tensor` each return the model's inputs by name.
After the model: `classes`, `class_map`, `boxes` and `values` each take its outputs by name.
"""

from edgekit.processing.reference.common import Array, Arrays
from edgekit.processing.reference.numbers import tensor
from edgekit.processing.reference.picture import image
from edgekit.processing.reference.results import (
    Box,
    Scored,
    boxes,
    class_map,
    classes,
    values,
)
from edgekit.processing.reference.sound import log_mel
from edgekit.processing.reference.text import tokens

__all__ = [
    "Array",
    "Arrays",
    "Box",
    "Scored",
    "boxes",
    "class_map",
    "classes",
    "image",
    "log_mel",
    "tensor",
    "tokens",
    "values",
]
