"""A damaged size or loop is refused before it takes the machine's memory or its time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from edgekit.errors import EdgekitError, UnavailableError
from edgekit.mil import kernels
from edgekit.runtimes import open_session
from tests.mil.packages import looping

pytestmark = pytest.mark.filterwarnings("ignore")  # coremltools' temporary folders

HUGE = 1 << 30
X = torch.ones(1, 2, 4, 4)


def integers(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.int32)


def number(value: float) -> Tensor:
    return torch.tensor(value)


DAMAGED: dict[str, dict[str, object]] = {
    "fill": {"shape": integers(1, HUGE), "value": number(1.0)},
    "range_1d": {"start": number(0.0), "end": number(float(HUGE)), "step": number(1.0)},
    "pad": {"x": X, "pad": integers(0, 0, HUGE, 0)},
    "tile": {"x": X, "reps": integers(1, 1, HUGE, 1)},
    "one_hot": {"indices": integers(1, 2), "one_hot_vector_size": torch.tensor(HUGE)},
    "random_uniform": {"shape": integers(HUGE)},
    "random_normal": {"shape": integers(HUGE)},
    "random_categorical": {"x": X, "size": torch.tensor(HUGE)},
    "conv": {"x": X, "weight": torch.ones(2, 2, 1, 1), "pad_type": "custom",
             "pad": integers(HUGE, HUGE, 0, 0)},
    "conv_transpose": {"x": X, "weight": torch.ones(2, 2, 1, 1), "strides": integers(HUGE, 1)},
    "max_pool": {"x": X, "kernel_sizes": integers(2, 2), "pad_type": "custom",
                 "pad": integers(HUGE, 0, 0, 0)},
    "avg_pool": {"x": X, "kernel_sizes": integers(2, 2), "pad_type": "custom",
                 "pad": integers(HUGE, 0, 0, 0)},
    "upsample_nearest_neighbor": {"x": X, "scale_factor_height": number(float(HUGE))},
    "upsample_bilinear": {"x": X, "scale_factor_height": number(float(HUGE))},
    "resize_nearest_neighbor": {"x": X, "target_size_height": torch.tensor(HUGE),
                                "target_size_width": torch.tensor(1)},
    "resize_bilinear": {"x": X, "target_size_height": torch.tensor(HUGE),
                        "target_size_width": torch.tensor(1)},
    "space_to_batch": {"x": X, "block_shape": integers(1, 1),
                       "paddings": torch.tensor([[HUGE, 0], [0, 0]])},
    "sliding_windows": {"x": torch.ones(100_000), "axis": torch.tensor(0),
                        "size": torch.tensor(50_000)},
    "make_list": {"elem_shape": [torch.tensor(4), torch.tensor(HUGE)]},
    "list_write": {"ls": [X], "index": torch.tensor(HUGE), "value": X},
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_a_size_beyond_measure_is_refused(name: str) -> None:
    kernel: Callable[..., object] = kernels.table()[name]
    with pytest.raises(EdgekitError, match="it would make"):
        kernel(**DAMAGED[name])


def test_a_large_result_of_large_inputs_is_allowed() -> None:
    kernels.allow(2e9, given=1 << 26)
    kernels.allow(1 << 26)
    with pytest.raises(EdgekitError):
        kernels.allow((1 << 26) + 1)


def test_a_loop_that_does_not_end_is_stopped(tmp_path: Path) -> None:
    for step, ends in ((0.5, True), (0.0, False)):
        with open_session(looping(tmp_path / "m.mlpackage", step), "coreml", runtime="mil") as loop:
            feeds = {"total": np.array([3.0], np.float32)}
            if ends:
                assert loop.run(feeds)["left"] == 0
            else:
                with pytest.raises(UnavailableError, match="stops a loop after 30000 rounds"):
                    loop.run(feeds)
