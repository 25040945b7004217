"""The wheel: imported without edgekit, as accurate as its reference, and typed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import EACH, NAMES, SAMPLES

import edgekit
from edgekit.packages import _archive, _selfcheck
from edgekit.processing.binding import bind, finish, prepare
from edgekit.processing.declared import find

GOLDEN = Path(__file__).parent / "golden"
ALONE = """
import sys
import {name} as package
package.self_check()
heavy = set(sys.modules) & {{"edgekit", "torch", "jinja2", "onnx"}}
assert not heavy, heavy
"""


@pytest.fixture
def unpacked(packed, tmp_path):
    """Return a function that unpacks a wheel and returns its folder."""

    def unpack(name, format_name="onnx"):
        files = _archive.read(packed(name, format_name, "linux"))
        folder = tmp_path / format_name
        _archive.write(folder, "folder", files)
        return folder

    return unpack


def python(folder, code):
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("format_name", ["onnx", "tflite"])
def test_self_check_passes_without_edgekit(name, format_name, unpacked):
    done = python(unpacked(name, format_name), ALONE.format(name=name))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("selfcheck.bin", "is off by"),
        ("_processing/picture.py", "sample 1, input image is off by"),
        ("digit_classifier.onnx", "sample 1, output output is off by"),
    ],
)
def test_self_check_finds_what_changed(unpacked, file, said):
    folder = unpacked("digit_classifier")
    path = folder / "digit_classifier" / file
    content = path.read_bytes()
    if file == "selfcheck.bin":
        content = content[:-9] + bytes([content[-9] ^ 64]) + content[-8:]
    elif file.endswith(".py"):
        content = content.replace(b"planes / divide_by", b"planes / (divide_by + 1)")
    else:
        middle = len(content) // 2  # weights
        content = content[:middle] + b"\x3f" * 64 + content[middle + 64 :]
    assert content != path.read_bytes()
    path.write_bytes(content)
    done = python(folder, ALONE.format(name="digit_classifier"))
    assert done.returncode == 1
    assert said in done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_wrapper_is_bit_for_bit_the_reference(name, unpacked, monkeypatch):
    monkeypatch.syspath_prepend(str(unpacked(name)))
    forget(name)
    wrapper = __import__(name)
    try:
        model = next(v for k, v in vars(wrapper).items() if k.lower() == name.replace("_", ""))()
        with model, edgekit.open(Path(wrapper.__file__).parent / f"{name}.onnx") as session:
            bound = bind(find(str(SAMPLES / f"{name}.py")), session.signature)
            random = np.random.RandomState(7)
            for _ in range(100):
                given = {step.name: _selfcheck.example(step, random) for step in bound.before}
                feeds = prepare(bound, given)
                for key, array in model._prepare(**given).items():
                    np.testing.assert_array_equal(array, feeds[key])
                    assert array.dtype == feeds[key].dtype
                outputs = session.run(feeds)
                said, wanted = model._finish(outputs), finish(bound, outputs)
                for key, value in wanted.items():
                    compare(getattr(said, key), value)
    finally:
        forget(name)


def forget(name):
    """Drop an imported module: the sample models and their packages share their names."""
    for module in [m for m in sys.modules if m.partition(".")[0] == name]:
        del sys.modules[module]


def compare(found, wanted):
    if isinstance(wanted, np.ndarray):
        np.testing.assert_array_equal(found, wanted)
    else:
        assert [vars(each) for each in found] == [vars(each) for each in wanted]


@pytest.mark.parametrize("name", NAMES)
def test_generated_code_is_formatted_and_clean(name, unpacked):
    folder = unpacked(name)
    ruff = [sys.executable, "-m", "ruff"]
    style = ["--isolated", "--line-length", "100", str(folder / name)]
    for command in (
        ["format", "--diff"],
        ["check", "--select", "E,F,I,UP,D1", "--ignore", "D105,D107"],
    ):
        done = subprocess.run(
            [*ruff, *command, *style], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_generated_code_is_typed(unpacked):
    folder = unpacked("sentiment_transformer", "tflite")
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file=",
        "--ignore-missing-imports",
    ]
    command += ["--cache-dir", str(folder / "cache"), "sentiment_transformer"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["digit_classifier", "sentiment_transformer"])
def test_wrapper_is_as_it_was(name, unpacked):
    made = (unpacked(name) / name / "__init__.py").read_text()
    assert made == (GOLDEN / f"{name}.py.txt").read_text()
