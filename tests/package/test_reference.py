"""The reference computes what the libraries that models are trained with compute."""

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from edgekit.processing import reference
from edgekit.processing.reference import picture, results, text
from edgekit.processing.schema import AFTER, BEFORE, STEP_NAME


def options(kind, **given):
    """Return all arguments of a kind's function: its defaults, and what is given."""
    fields = {**BEFORE, **AFTER}[kind]
    return {key: "x" if d is STEP_NAME else d for key, (_, d) in fields.items()} | given


def picture_of(height, width, channels=3, seed=0):
    return np.random.RandomState(seed).randint(0, 256, (height, width, channels)).astype(np.uint8)


def resized(pixels, **given):
    height, width = given["size"]
    shape = (1, pixels.shape[2], height, width)
    made = reference.image(pixels, **options("image", dtype="float32", shape=shape, **given))
    return made["x"]


SIZES = [((17, 31), (8, 8)), ((8, 8), (17, 31)), ((64, 48), (16, 24)), ((5, 5), (5, 9))]


@pytest.mark.parametrize(("source", "target"), SIZES)
@pytest.mark.parametrize("interpolation", ["bilinear", "antialias", "nearest"])
def test_resize_is_that_of_pytorch(source, target, interpolation):
    pixels = picture_of(*source)
    mode = "nearest-exact" if interpolation == "nearest" else "bilinear"
    expected = interpolate(
        torch.from_numpy(pixels.transpose(2, 0, 1)[None].astype(np.float64)),
        size=target,
        mode=mode,
        antialias=interpolation == "antialias",
    )
    made = resized(pixels, resize="stretch", size=target, interpolation=interpolation)
    np.testing.assert_allclose(made, expected.numpy(), atol=1e-4)


def test_area_is_the_mean_of_each_cell():
    pixels = picture_of(32, 24)
    made = resized(pixels, resize="stretch", size=(8, 6), interpolation="area")
    cells = pixels.reshape(8, 4, 6, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(made[0], cells.transpose(2, 0, 1), atol=1e-4)


def test_letterbox_keeps_proportions_and_fills_the_rest():
    made = resized(
        picture_of(10, 20), resize="letterbox", size=(16, 16), fill=7.0, interpolation="nearest"
    )
    assert (made[:, :, :4] == 7).all()
    assert (made[:, :, 12:] == 7).all()
    assert (made[:, :, 4:12] != 7).mean() > 0.9


def test_shorter_side_and_crop():
    pixels = picture_of(30, 50)
    arguments = options(
        "image", dtype="float32", shape=(1, 3, 8, 8), resize="shorter", size=(10, 10), crop=(8, 8)
    )
    assert picture.fitted(30, 50, "shorter", (10, 10)) == (10, 16)
    whole = resized(pixels, resize="stretch", size=(10, 16))
    np.testing.assert_array_equal(reference.image(pixels, **arguments)["x"], whole[:, :, 1:9, 4:12])
    with pytest.raises(ValueError, match="smaller than its crop"):
        reference.image(pixels, **arguments | {"crop": (11, 8)})


def test_channels_scaling_and_rounding():
    pixels = picture_of(4, 4)
    common = {"dtype": "float32", "divide_by": 255.0, "mean": (0.1, 0.2, 0.3), "std": (2.0,)}
    planes = pixels.transpose(2, 0, 1)[None] / 255
    made = reference.image(pixels, **options("image", shape=(1, 3, 4, 4), **common))["x"]
    wanted = (planes - np.array([0.1, 0.2, 0.3])[:, None, None]) / 2
    np.testing.assert_allclose(made, wanted, atol=1e-6)
    last = options("image", shape=(1, 4, 4, 3), layout="nhwc", channels="bgr", dtype="uint8")
    np.testing.assert_array_equal(reference.image(pixels, **last)["x"][0], pixels[:, :, ::-1])
    gray = options("image", shape=(1, 1, 4, 4), channels="gray", dtype="int8")
    luma = np.rint(pixels @ np.array([0.299, 0.587, 0.114])).clip(-128, 127)
    np.testing.assert_array_equal(reference.image(pixels, **gray)["x"][0, 0], luma)
    with pytest.raises(ValueError, match="takes"):
        reference.image(picture_of(5, 4), **last)
    with pytest.raises(ValueError, match="uint8"):
        reference.image(planes, **last)


def test_wordpiece_takes_the_longest_piece_and_marks_both_ends():
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "##aff", "##able", "##a", "fun"]
    ids = reference.tokens(
        "Unaffable \u2003 fun xyz\nfun",
        **options(
            "tokens",
            vocabulary=words,
            length=8,
            tokenizer="wordpiece",
            padding="[PAD]",
            unknown="[UNK]",
            begin="[CLS]",
            end="[SEP]",
            mask="m",
            dtype="int32",
            mask_dtype="int64",
        ),
    )
    assert ids["x"].tolist() == [[2, 4, 5, 6, 8, 1, 8, 3]]
    assert ids["m"].dtype == np.int64
    assert text.SPACES.split("a\x1cb") == ["a\x1cb"]


def test_scores_are_softmax_in_order_and_cut():
    logits = {"x": np.array([[0.5, 3.0, 3.0, -1.0]], np.float32)}
    labels = ("a", "b", "c", "d")
    found = reference.classes(logits, **options("classes", labels=labels, top_k=3))
    assert [each.label for each in found] == ["b", "c", "a"]
    expected = torch.softmax(torch.tensor([0.5, 3.0, 3.0, -1.0], dtype=torch.float64), 0)
    assert found[0].score == pytest.approx(float(expected[1]), abs=1e-12)
    sure = reference.classes(
        logits, **options("classes", labels=labels, activation="sigmoid", threshold=0.6)
    )
    assert [each.index for each in sure] == [1, 2, 0]
    huge = np.array([[-1e4, 1e4]], np.float32)
    assert [
        e.score
        for e in reference.classes(
            {"x": huge}, **options("classes", labels="ab", activation="sigmoid")
        )
    ] == [1.0, 0.0]


def test_suppression_keeps_the_surest_of_each_class():
    corners = np.array([[[0, 0, 10, 10], [1, 1, 10, 10], [0, 0, 10, 10], [50, 50, 9, 9]]], float)
    scores = np.array([[[0.9, 0.1], [0.8, 0.0], [0.1, 0.7], [0.1, 0.2]]])
    found = reference.boxes(
        {"b": corners, "s": scores},
        **options("boxes", corners="b", scores="s", labels=("cat", "dog")),
    )
    assert [(each.label, each.score) for each in found] == [("cat", 0.9), ("dog", 0.7)]
    assert results.overlap(corners[0, 0], corners[0, 1]) == pytest.approx(0.81)
    centred = np.array([[[5, 5, 4, 2]]], float)
    (one,) = reference.boxes(
        {"b": centred, "s": np.ones((1, 1, 1))},
        **options("boxes", corners="b", scores="s", labels=("cat",), format="cxcywh"),
    )
    assert (one.left, one.top, one.right, one.bottom) == (3, 4, 7, 6)
