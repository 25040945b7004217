"""What people really type: each mistake is one sentence that names it, and no traceback."""

import numpy as np
import pytest
import torch

MODEL = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(4, 3)
    def forward(self, image, scale):
        return self.fc(image) * scale
build = Net
def example_inputs():
    return (torch.ones(2, 4), torch.ones(1))
"""
IMAGE = np.ones((2, 4), np.float32)
DATA = {
    "wrong_name.npz": {"x": IMAGE},
    "wrong_shape.npz": {"image": np.ones((2, 7), np.float32)},
    "wrong_type.npz": {"image": np.full((2, 4), "a")},
    "nan.npz": {"image": IMAGE * np.nan},
    "no_sample.npz": {"image": IMAGE[:0].reshape(0, 2, 4)},
}
SAMPLES = """def raises():
    raise ValueError('disk gone')
def none():
    return None
def empty():
    return []
"""
SOURCES = {
    "empty.py": "",
    "syntax.py": "def build(:\n",
    "raises.py": "def build():\n    raise RuntimeError('no weights')\n",
    "exits.py": "import sys\ndef build(): sys.exit(5)\n",
    "imports.py": "import timmm\n",
    "number.py": "def build(): return 7\n",
    "samples.py": SAMPLES,
    "one.py": MODEL.replace(", scale", "").replace("* scale", "").replace(", torch.ones(1)", ","),
    "no_example.py": "import torch\ndef build(): return torch.nn.ReLU()\n",
}
GARBAGE = ("g.py", "g.pt2", "g.pth", "g.safetensors", "g.onnx", "g.tflite", "g.mlmodel", "g.npz")
EMPTY = ("e.pt2", "e.safetensors", "e.onnx", "e.tflite", "e.npz")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    (folder / "net.py").write_text(MODEL)
    for name, text in SOURCES.items():
        (folder / name).write_text(text)
    for name in GARBAGE:
        (folder / name).write_bytes(np.random.default_rng(0).bytes(3000))
    for name in EMPTY:
        (folder / name).touch()
    for name, arrays in DATA.items():
        np.savez(folder / name, **{"scale": np.ones(1, np.float32), **arrays})
    torch.save({"a": torch.ones(2)}, folder / "other.pth")
    torch.save(torch.nn.Linear(4, 3), folder / "whole.pt")
    (folder / "dir.onnx").mkdir()
    (folder / "arrays").mkdir()
    (folder / "arrays" / "g.npy").write_bytes(b"no array")
    (folder / "e.mlpackage").mkdir()
    return folder


@pytest.fixture
def said(edgekit, folder, monkeypatch):
    """Run a command that must fail; return its exit code and its one message."""
    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())

    def run(*arguments):
        ran = edgekit(*arguments)
        assert ran.out == ""
        assert "Traceback" not in ran.err
        assert "\x1b" not in ran.err
        if (folder / "out").is_dir():
            (folder / "out").rmdir()  # which fails unless it is empty
        assert sorted(folder.iterdir()) == before
        return ran.code, ran.err

    return run


INT8 = ("--recipe", "int8", "--calibrate")
CHECKED_BEFORE_ANYTHING_RUNS = [
    (["--input", "image"], "--input 'image' is not understood", "image:1,3,224,224"[5:]),
    (["--input", "image:-1,4"], "'-1' is no dimension", "1..8"),
    (["--input", "image:8..1,4"], "the range '8..1' is empty", "smaller number first"),
    (["--input", "image:2,4:flaot32"], "'flaot32' is no element type", "float32"),
    (["--buckets", "4,8"], "no dimension varies", "--input"),
    (["--buckets", "4", "--input", "image:1..8"], "two or more sizes", ""),
    (["--buckets", "4,9", "--input", "image:1..8"], "Bucket 9 is outside", ""),
    (["--buckets", "4;8", "--input", "image:1..8"], "'4;8' is no list of sizes", ""),
    (["--opset", "3"], "--opset 3 is not possible", "Choose one of"),
    (["--opset", "x"], "'x' is not a valid integer", ""),
    (["--to", "onnx", "--ios", "17"], "Option 'ios' belongs to none", "Leave it out"),
    (["--to", ","], "No format is asked for", "Known: coreml"),
    (["--jobs", "0"], "0 is not in the range", ""),
    (["--timeout", "-1"], "-1.0 is not in the range", ""),
    (["--name", "../x"], "'../x' is no file name", "--output"),
    (["--name", ""], "'' is no file name", ""),
    (["--labels", "absent.txt"], "absent.txt", ""),
    *(
        ([*INT8, "data.npz", "--accuracy-budget", share], f"not {share!r}", "")
        for share in ("0", "200%", "-1%", "abc", "nan", "")
    ),
    (
        [*INT8, "a.npz", "--accuracy-budget", "1%", "--fast-here", "--to", "onnx"],
        "one after the other",
        "first",
    ),
    (["--recipe", "fp16", "--accuracy-budget", "1%"], "fp16 is none", "--recipe int8"),
    (["--recipe", "int8", "--accuracy-budget", "1%"], "needs calibration data", "--calibrate"),
    (["--recipe", "fp16", "--calibrate", "data.npz"], "takes no calibration data", "Leave"),
    (["--to", "tflite", "--io", "int4"], "--io int4 is not possible", "int8"),
]


@pytest.mark.parametrize(("arguments", "message", "hint"), CHECKED_BEFORE_ANYTHING_RUNS)
def test_a_request_that_makes_no_sense(said, arguments, message, hint):
    code, err = said("convert", "net.py", *arguments)
    assert code == 2
    assert message in err
    assert hint in err


FOUND_BY_LOADING = [
    ("empty.py", [], "empty.py has no callable build()"),
    ("g.py", [], "g.py: the import failed"),
    ("syntax.py", [], "syntax.py:1: SyntaxError"),
    ("raises.py", [], "raises.py:2: RuntimeError: no weights"),
    ("exits.py", [], "the code calls sys.exit()"),
    ("imports.py", [], "'timmm', imported at"),
    ("number.py", [], "build() returned a"),
    ("no_example.py", [], "brings no example inputs"),
    ("net.py:biuld", [], "has no callable biuld()"),
    ("g.pt2", [], "g.pt2 is not a program"),
    ("e.pt2", [], "e.pt2 is not a program"),
    ("g.onnx", [], "g.onnx is no model source"),
    ("dir.onnx", [], "without config.json"),
    ("nonesuch.module:build", [], "no Python module 'nonesuch.module'"),
    ("net.py", ["--weights", "g.safetensors"], "g.safetensors cannot be read as weights"),
    ("net.py", ["--weights", "e.safetensors"], "e.safetensors cannot be read as weights"),
    ("net.py", ["--weights", "g.pth"], "g.pth cannot be read as weights"),
    ("net.py", ["--weights", "whole.pt"], "a pickled module"),
    ("net.py", ["--weights", "other.pth"], "misses fc.weight, fc.bias and has unknown a"),
    ("net.py", ["--weights", "dir.onnx"], "There is no weights file"),
    ("net.py", ["--input", "image:2,5"], "the model fails on its example inputs"),
    ("net.py", ["--input", "img:2,4"], "img"),
    ("net.py", ["--input", "image:2,4", "--input", "image:2,4"], "names 'image' twice"),
    ("net.py", ["--input", "image:999999999,99999999"], "does not fit into memory"),
    ("net.py", ["--input-data", "wrong_name.npz"], "no array named 'image'"),
    ("net.py", ["--input-data", "wrong_shape.npz"], "has shape [2, 7]"),
    ("net.py", ["--input-data", "wrong_type.npz"], "the model takes float32"),
    ("net.py", ["--input-data", "no_sample.npz"], "holds no sample"),
    ("net.py", ["--input-data", "g.npz"], "g.npz is not an .npz file"),
    ("net.py", ["--input-data", "e.npz"], "e.npz is not an .npz file"),
    ("net.py", ["--input-data", "absent.npz"], "no input data at absent.npz"),
    ("net.py", [*INT8, "nan.npz"], "has no sample without NaN"),
    ("net.py", [*INT8, "wrong_name.npz"], "no array named 'image'"),
    ("net.py", [*INT8, "dir.onnx"], "no input data at dir.onnx"),
    ("one.py", [*INT8, "arrays"], "g.npy is not an .npy file of arrays"),
    ("net.py", [*INT8, "samples.py:raises"], "samples.py:2: ValueError: disk gone"),
    ("net.py", [*INT8, "samples.py:none"], "'NoneType' object is not iterable"),
    ("net.py", [*INT8, "samples.py:empty"], "The calibration data is empty"),
    ("net.py", [*INT8, "samples.py"], "samples.py names no function"),
    ("net.py", [*INT8, "samples.py:absent"], "has no function 'absent'"),
]


@pytest.fixture
def in_this_process(monkeypatch):
    """Load and export here, without a worker's start: the messages are the same."""
    from edgekit import worker, workshop

    def call(shop, who, function, request):
        return worker.in_process(f"edgekit.lowering:{function}", request)

    monkeypatch.setattr("edgekit.conversion.call", call)
    monkeypatch.setattr("edgekit.conversion.start_early", lambda *_: None)
    assert workshop.call is not call


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("source", "arguments", "message"), FOUND_BY_LOADING)
def test_a_model_that_cannot_be_used(said, in_this_process, source, arguments, message):
    code, err = said("convert", source, *arguments)
    assert code in (1, 2)
    assert message in err
    assert err.startswith("error: ")


FOUND_BY_READING = [
    ("inspect", "g.onnx", "g.onnx is no readable ONNX file"),
    ("inspect", "e.onnx", "e.onnx is empty"),
    ("inspect", "dir.onnx", "dir.onnx cannot be read: Is a directory"),
    ("inspect", "g.tflite", "g.tflite is no readable TFLite file"),
    ("inspect", "g.mlmodel", "g.mlmodel is no readable Core ML"),
    ("inspect", "e.mlpackage", "e.mlpackage is no readable Core ML"),
    ("inspect", "net.py", "does not tell its format"),
    ("inspect", "absent.onnx", "There is no file absent.onnx"),
    ("benchmark", "g.onnx", "g.onnx is no readable ONNX file"),
    ("benchmark", "g.tflite", "g.tflite is no readable TFLite file"),
    ("benchmark", "e.onnx", "e.onnx is empty"),
    ("benchmark", "e.mlpackage", "e.mlpackage"),
    ("benchmark", "net.py", "not an artifact of a known format"),
    ("benchmark", "absent.tflite", "There is no file absent.tflite"),
    ("verify", "absent.onnx", "There is no file absent.onnx"),
    ("verify", "g.onnx", "has no sidecar"),
]


@pytest.mark.parametrize(("command", "path", "message"), FOUND_BY_READING)
def test_a_file_that_is_no_model(said, command, path, message):
    code, err = said(command, path)
    assert code in (1, 2)
    assert message in err
    assert len(err.strip().splitlines()) <= 3  # the sentence, and a hint below it
