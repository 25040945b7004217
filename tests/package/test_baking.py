"""Preprocessing baked into artifacts: pixels in, the same answers out."""

import numpy as np
import pytest
import torch
import tree_sitter_swift
from conftest import SAMPLES, SUFFIXES
from grammar import faults

import edgekit
from edgekit.artifact import open_artifact
from edgekit.errors import UsageError
from edgekit.packaging import check, package
from edgekit.plan import plan
from edgekit.processing.baking import Picture, bake, pictures_of
from edgekit.processing.binding import bind, finish, prepare
from edgekit.processing.declared import find
from edgekit.processing.reference import image
from edgekit.processing.schema import Processing
from tests.in_process import convert

FORMATS = ["onnx", "tflite", "coreml"]
SHAPES = {"onnx": (1, 8, 8, 1), "tflite": (1, 8, 8, 1), "coreml": (1, 1, 8, 8)}


@pytest.fixture(scope="module")
def baked(tmp_path_factory):
    """Return the folder with a sample model that takes pixels, in every format."""
    folder = tmp_path_factory.mktemp("baked")
    source = str(SAMPLES / "digit_classifier.py")
    report = convert(source, formats=FORMATS, output_dir=folder, bake_preprocessing=True)
    assert [result.status for result in report.results] == ["passed"] * 3
    return folder


@pytest.mark.parametrize("format_name", FORMATS)
def test_pixels_give_what_the_reference_gives(format_name, baked, converted):
    path = baked / f"digit_classifier{SUFFIXES[format_name]}"
    (spec,) = open_artifact(path).signature.inputs
    assert (spec.dtype.value, spec.shape) == ("uint8", SHAPES[format_name])
    given = find(str(SAMPLES / "digit_classifier.py"))
    random = np.random.RandomState(4)
    with (
        edgekit.open(path) as session,
        edgekit.open(converted("digit_classifier", "onnx")) as plain,
    ):
        bound = bind(given, open_artifact(path).signature)
        unbaked = bind(given, plain.signature)
        for _ in range(20):
            call = {"picture": random.randint(0, 256, (8, 8, 1)).astype(np.uint8)}
            feeds = prepare(bound, call)
            np.testing.assert_array_equal(feeds["image"].reshape(-1), call["picture"].reshape(-1))
            found = session.run(feeds)["output"]
            wanted = plain.run(prepare(unbaked, call))["output"]
            np.testing.assert_allclose(found, wanted, atol=2e-5, rtol=0)
            best = finish(bound, {"output": found})["digits"][0]
            assert best.index == finish(unbaked, {"output": wanted})["digits"][0].index


def test_core_ml_takes_an_image(baked):
    (feature,) = edgekit.inspect(baked / "digit_classifier.mlpackage").signature.inputs
    assert (feature.dtype.value, feature.shape) == ("uint8", (1, 1, 8, 8))
    message = (
        baked / "digit_classifier.mlpackage/Data/com.apple.CoreML/model.mlmodel"
    ).read_bytes()
    # FeatureType.imageType (5 would be an array): width 8, height 8, colorSpace 10 (GRAYSCALE)
    assert bytes([0x22, 6, 0x08, 8, 0x10, 8, 0x18, 10]) in message


@pytest.mark.parametrize(
    ("format_name", "flavour"), [("onnx", "linux"), ("tflite", "firmware"), ("coreml", "apple")]
)
def test_packages_of_baked_artifacts(format_name, flavour, baked, tmp_path):
    (made,) = package([baked / f"digit_classifier{SUFFIXES[format_name]}"], [flavour], tmp_path)
    (variant,) = check(made.path).manifest["variants"]
    step = variant["processing"]["preprocess"]["picture"]
    assert (step["divide_by"], step["dtype"]) == (1.0, "uint8")
    for path in made.path.rglob("*.swift") if flavour == "apple" else ():
        assert faults(tree_sitter_swift, path.read_bytes()) == []
    if flavour == "apple":
        wrapper = (made.path / "Sources/DigitClassifier/DigitClassifier.swift").read_text()
        assert "MLFeatureValue(pixelBuffer: try pictureTensor.pixelBuffer())" in wrapper


class Seen(torch.nn.Module):
    """Gives back what it was given."""

    def forward(self, photo):
        return photo * 1.0


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_baked_arithmetic_is_the_references(layout, channels):
    from edgekit.arguments import bind as bound_call
    from edgekit.border import make_border

    shape = (1, 3, 5, 7) if layout == "nchw" else (1, 5, 7, 3)
    scale = {"divide_by": 255.0, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    random = np.random.RandomState(1)
    pixels = random.randint(0, 256, (5, 7, 3)).astype(np.uint8)
    rest = {"resize": "none", "size": None, "crop": None, "interpolation": "area", "fill": 0.0}
    common = {"layout": layout, "channels": channels, **scale}
    wanted = image(pixels, input="photo", dtype="float32", shape=shape, **common, **rest)["photo"]
    call = bound_call(Seen(), (torch.from_numpy(wanted),))
    made, tensors = bake(make_border(Seen(), call), call.tensors, {"photo": Picture(**common)})
    np.testing.assert_array_equal(tensors["photo"].numpy()[0], pixels)
    np.testing.assert_allclose(made(**tensors)["output"].numpy(), wanted, atol=1e-6, rtol=0)


def test_what_cannot_be_baked():
    with pytest.raises(UsageError, match="no picture whose processing"):
        pictures_of(Processing())
    picture = Picture("nchw", "rgb", 255.0, (0.0,), (1.0,))
    for name, tensor, said in (
        ("other", torch.zeros(1, 3, 4, 4), "none of that name"),
        ("x", torch.zeros(2, 3, 4, 4), "takes no single picture"),
        ("x", torch.zeros(1, 1, 4, 4), "takes no single picture"),
        ("x", torch.zeros(1, 3, 4, 4, dtype=torch.int32), "nothing to bake"),
    ):
        with pytest.raises(UsageError, match=said):
            bake(torch.nn.Identity(), {"x": tensor}, {name: picture})


def test_a_dry_run_says_so():
    assert plan("x.py", bake_preprocessing=True).to_json()["bake_preprocessing"] is True


def test_a_baked_artifact_can_be_verified_again(baked):
    source = str(SAMPLES / "digit_classifier.py")
    again = edgekit.verify(baked / "digit_classifier.onnx", source)
    assert again.status == "passed"
