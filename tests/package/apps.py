"""What an app hands to each sample model: the test splits, undone to pictures, text and sound."""

import importlib
import sys

import numpy as np
from conftest import SAMPLES


def load(name):
    """Import a module of the samples' folder the way it expects: by its bare name."""
    sys.path.insert(0, str(SAMPLES))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(SAMPLES))


def digit_classifier(sample):
    """8x8 scans, enlarged and in levels of 0..255 as a camera gives them."""
    inputs, labels = sample.dataset("test")
    pixels = np.rint(inputs["image"][:, 0] * 255).astype(np.uint8)
    return [{"picture": each.repeat(5, 0).repeat(5, 1)} for each in pixels], labels


def gesture_gru(sample):
    inputs, labels = sample.dataset("test")
    return [{"motion": each} for each in inputs["motion"]], labels


def sentiment_transformer(sample):
    inputs, labels = sample.dataset("test")
    words = list(sample.vocabulary())
    texts = [" ".join(words[i] for i in ids if i) for ids in inputs["input_ids"]]
    return [{"review": text.title() + "\n"} for text in texts], labels


def shape_segmenter(sample):
    inputs, masks = sample.dataset("test")
    pixels = np.rint(inputs["image"] * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    return [{"image": each} for each in pixels], masks
