"""What the other files of the reference share."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Arrays = dict[str, Array]


def cast(values: Array, dtype: str) -> Array:
    """Round to an element type; integers half to even and clipped to what the type holds."""
    wanted = np.dtype(dtype)
    if wanted.kind in "iu":
        values = np.rint(values.astype(np.float64))
        if wanted.itemsize < 8:  # float64 cannot hold the limits of the longest integers
            values = values.clip(np.iinfo(wanted).min, np.iinfo(wanted).max)
    result: Array = np.ascontiguousarray(values.astype(wanted))
    return result
