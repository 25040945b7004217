"""What the sample models share: loading weights and stored splits, and counting right answers.

Each sample is one file, `<name>.py`, with `<name>.safetensors` (weights) and `<name>.npz`
(test and calibration samples) beside it. This module is imported by its bare name: whatever
loads a sample puts this folder on `sys.path`. It needs torch, numpy and safetensors only, so
that a sample can be built and measured without the tools that trained it.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

Array = npt.NDArray[Any]
Arrays = dict[str, Array]
Run = Callable[[Arrays], Arrays]
"""Any runtime's way of running one sample: arrays by argument name in, by output name out."""

SPLITS = ("test", "calibration")

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def load_weights(model: ModuleT, path: Path) -> ModuleT:
    """Fill `model` from a safetensors file, every tensor of it, and put it in eval mode."""
    model.load_state_dict(load_file(path), strict=True)
    return model.eval()


def load_split(path: Path, split: str) -> tuple[Arrays, Array]:
    """Read one split, as stored, from a sample's npz.

    Args:
        path: The npz; its arrays are named `<split>/<input>` and `<split>/labels`.
        split: One of `SPLITS`.

    Returns:
        The inputs by name, in the types they are stored in, and the labels as int64.

    Raises:
        ValueError: There is no such split.
    """
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}; the splits are {', '.join(map(repr, SPLITS))}")
    with np.load(path) as stored:
        prefix = f"{split}/"
        arrays = {
            key.removeprefix(prefix): stored[key] for key in stored.files if key.startswith(prefix)
        }
    return arrays, arrays.pop("labels").astype(np.int64)


def samples(inputs: Arrays) -> Iterator[Arrays]:
    """Yield the samples of a split one at a time, each with batch size 1."""
    for index in range(len(next(iter(inputs.values())))):
        yield {name: array[index : index + 1] for name, array in inputs.items()}


def first_sample(inputs: Arrays) -> tuple[Tensor, ...]:
    """Return the first sample of a split as tensors, in the order of forward's arguments."""
    return tuple(torch.from_numpy(array.copy()) for array in next(samples(inputs)).values())


def predicted_classes(run: Run, inputs: Arrays, output: str) -> Array:
    """Run every sample and take the class (axis 1) with the largest logit.

    Args:
        run: The runtime to measure.
        inputs: The samples.
        output: The output that holds the logits. A runtime that has only one output may call
            it what it likes: a plain tensor has no name of its own.

    Returns:
        The classes: `(N,)`, or `(N, H, W)` where each pixel has logits.
    """
    return np.concatenate(
        [named_or_only(run(sample), output).argmax(axis=1) for sample in samples(inputs)]
    )


def named_or_only(outputs: Arrays, name: str) -> Array:
    """Return the output called `name`, or the only output there is."""
    if name in outputs:
        return outputs[name]
    if len(outputs) == 1:
        return next(iter(outputs.values()))
    raise KeyError(f"no output {name!r} among {sorted(outputs)}")


def accuracy(run: Run, inputs: Arrays, labels: Array) -> float:
    """Return the fraction of samples whose largest logit is the labelled class."""
    return float(np.mean(predicted_classes(run, inputs, "logits") == labels))


def torch_run(model: nn.Module) -> Run:
    """Return a `Run` that is PyTorch itself: the reference the other runtimes are held to."""

    def run(feeds: Arrays) -> Arrays:
        with torch.inference_mode():
            result = model(**{name: torch.from_numpy(array) for name, array in feeds.items()})
        outputs: dict[str, Tensor] = result if isinstance(result, dict) else {"output": result}
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    return run
