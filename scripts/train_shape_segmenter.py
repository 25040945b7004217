"""Train `sample_models/shape_segmenter.py` on drawn scenes."""

import numpy as np
import training  # puts sample_models/ on sys.path, for the imports below

# isort: split
import shape_segmenter as sample
from sample_data import Arrays

TEST_SEEDS = np.arange(500)
TRAIN_SEEDS = np.arange(1000, 3000)
CALIBRATION_COUNT = 128


def stored(seeds: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Arrays:
    """Return what is stored of the scenes of these seeds."""
    return {"seeds": seeds.astype(np.uint16), "labels": sample.draw_images(seeds)[1]}


def main() -> None:
    """Draw, train, store, and print the quality of the masks."""
    training.start(seed=0)
    images, masks = sample.draw_images(TRAIN_SEEDS)
    model = sample.ShapeSegmenter()
    recipe = training.Recipe(epochs=7, batch_size=16, learning_rate=6e-3)
    training.train(model, {"image": images}, masks, recipe)
    splits = {"test": stored(TEST_SEEDS), "calibration": stored(TRAIN_SEEDS[:CALIBRATION_COUNT])}
    training.save(sample, model, splits)


if __name__ == "__main__":
    main()
