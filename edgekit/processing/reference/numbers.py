"""Numbers of any kind become a tensor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.processing.reference.common import Array, cast


def tensor(
    values: Array,
    *,
    input: str,  # noqa: A002
    dtype: str,
    shape: Sequence[int],
    divide_by: float,
    mean: Sequence[float],
    std: Sequence[float],
) -> dict[str, Array]:
    """Turn numbers into a tensor: ``(value / divide_by - mean) / std`` along the last axis.

    Args:
        values: An array of `shape`, with or without its leading axes of size 1.
        input: Name of the model's input.
        dtype: Its element type.
        shape: Its shape.
        divide_by: See above.
        mean: One number, or one for each place of the last axis.
        std: As `mean`.

    Raises:
        ValueError: the array has another shape.
    """
    values, wanted = np.asarray(values), tuple(shape)
    while len(wanted) > values.ndim and wanted[0] == 1:
        wanted = wanted[1:]
    if values.shape != wanted:
        raise ValueError(f"The model takes numbers of shape {wanted}, not {values.shape}.")
    if values.dtype.kind in "iub" and np.dtype(dtype).kind in "iub":
        return {input: values.astype(dtype).reshape(shape)}
    scaled = values.astype(np.float64) / divide_by
    scaled = (scaled - np.array(mean, np.float64)) / np.array(std, np.float64)
    return {input: cast(scaled.reshape(shape), dtype)}
