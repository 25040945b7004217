"""Train `sample_models/digit_classifier.py` on scikit-learn's digits."""

import numpy as np
import torch
import training  # puts sample_models/ on sys.path, for the imports below

# isort: split
import digit_classifier as sample
from sklearn.datasets import load_digits  # type: ignore[import-untyped]
from torch import Tensor

TEST_COUNT = 600
CALIBRATION_COUNT = 200


def shift(batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Move the batch by up to one pixel each way; the digits leave little room for more."""
    down, right = torch.randint(-1, 2, (2,)).tolist()
    return tuple(torch.roll(images, (down, right), dims=(2, 3)) for images in batch)


def main() -> None:
    """Train, store, and print the accuracy."""
    training.start(seed=0)
    digits = load_digits()
    ink, labels = digits.images.astype(np.uint8), digits.target.astype(np.uint8)
    known = slice(0, len(ink) - TEST_COUNT)
    model = sample.DigitClassifier()
    recipe = training.Recipe(epochs=60, learning_rate=1e-2)
    training.train(model, {"image": sample.to_image(ink[known])}, labels[known], recipe, shift)
    chosen = np.random.default_rng(0).choice(known.stop, CALIBRATION_COUNT, replace=False)
    splits = {"test": np.arange(known.stop, len(ink)), "calibration": chosen}
    training.save(
        sample,
        model,
        {name: {"ink": ink[rows], "labels": labels[rows]} for name, rows in splits.items()},
    )


if __name__ == "__main__":
    main()
