"""The part of training that is the same for every sample model.

Importing this module puts `sample_models/` on `sys.path`, so a training script imports it
first and its sample by name after it.

Training runs on one thread and from fixed seeds: on one machine and one torch build, a second
run writes the same files. Another processor may round differently and train slightly different
weights, so after retraining copy the printed `REFERENCE` into the sample.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

SAMPLES = Path(__file__).resolve().parents[1] / "sample_models"
sys.path.insert(0, str(SAMPLES))

from sample_data import Array, Arrays, torch_run  # noqa: E402 - needs the path set just above

Augment = Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]


@dataclass(frozen=True)
class Recipe:
    """How long and how fast to train."""

    epochs: int
    batch_size: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    label_smoothing: float = 0.0


def start(seed: int) -> None:
    """Make the training that follows repeatable; call it before the model is made."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)


def train(
    model: nn.Module,
    inputs: Arrays,
    labels: Array,
    recipe: Recipe,
    augment: Augment | None = None,
) -> None:
    """Train `model` in place with AdamW, a one-cycle learning rate and cross-entropy.

    Args:
        model: Takes the inputs in order; returns logits with the classes on axis 1, as a plain
            tensor or as a dict's first entry.
        inputs: The training samples, stacked, in the order of forward's arguments.
        labels: One class per sample, or per pixel of each sample.
        recipe: Epochs, batch size and rates.
        augment: Changes a batch's inputs before the model sees them.
    """
    tensors = tuple(torch.from_numpy(array) for array in inputs.values())
    targets = torch.from_numpy(labels.astype(np.int64))
    criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=recipe.weight_decay)
    batches = len(targets) // recipe.batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.epochs * batches
    )
    model.train()
    began = time.perf_counter()
    for epoch in range(1, recipe.epochs + 1):
        loss_sum = 0.0
        for chosen in torch.split(torch.randperm(len(targets)), recipe.batch_size)[:batches]:
            batch = tuple(tensor[chosen] for tensor in tensors)
            loss = criterion(_logits(model, augment(batch) if augment else batch), targets[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            loss_sum += loss.item()
        seconds = time.perf_counter() - began
        print(f"epoch {epoch:3d}  loss {loss_sum / batches:.4f}  {seconds:.0f} s", flush=True)


def _logits(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    result: Tensor | dict[str, Tensor] = model(*batch)
    return next(iter(result.values())) if isinstance(result, dict) else result


def save(sample: ModuleType, model: nn.Module, splits: dict[str, Arrays]) -> None:
    """Write the weights and the stored splits beside the sample, then measure what was written.

    Args:
        sample: The sample's module; its files are named after it.
        model: The trained model.
        splits: By split, the arrays to store: each input as the sample's `dataset` expects it
            there, and `labels`.
    """
    weights, data = (SAMPLES / f"{sample.__name__}{end}" for end in (".safetensors", ".npz"))
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, weights)
    stored = {f"{split}/{name}": array for split in splits for name, array in splits[split].items()}
    np.savez_compressed(data, allow_pickle=False, **stored)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{parameters:,} parameters; " + describe(weights) + "; " + describe(data))
    measured = sample.evaluate(torch_run(sample.build()))
    print("REFERENCE =", {name: round(value, 4) for name, value in measured.items()})


def describe(path: Path) -> str:
    """Return a file's name and size."""
    return f"{path.name} {path.stat().st_size:,} bytes"
