"""A folder of pictures as calibration data: each goes through what a model declares for it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from edgekit.errors import UnavailableError, UsageError
from edgekit.processing.binding import bind, prepare
from edgekit.processing.schema import Processing
from edgekit.runtimes import Array, Arrays
from edgekit.tensors import Signature

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff"}
Reader = Callable[[Sequence[Path]], list[Arrays]]


def reader(find: Callable[[], Processing], signature: Signature) -> Reader:
    """Return what reads pictures as inputs of a model whose processing `find` returns."""

    def read(files: Sequence[Path]) -> list[Arrays]:
        processing = find()
        steps = [step for step in processing.before if step.kind == "image"]
        if len(steps) != 1 or len(signature.inputs) != 1:
            raise UsageError(
                f"{files[0].parent} holds pictures, and the model does not declare how one becomes "
                "its only input.",
                "Declare PREPROCESS with an image step in the source, or give .npz or .npy files.",
            )
        bound = bind(processing, signature)
        return [prepare(bound, {steps[0].name: _pixels(file)}) for file in files]

    return read


def _pixels(file: Path) -> Array:
    if importlib.util.find_spec("PIL") is None:
        raise UnavailableError(
            "Reading pictures needs pillow, which is not installed.", "pip install pillow"
        )
    from PIL import Image

    try:
        with Image.open(file) as picture:
            return np.asarray(picture.convert("RGB"))
    except OSError as error:
        raise UsageError(f"{file} is not a picture that can be read: {error}.") from error
