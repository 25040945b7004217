"""What every runtime promises; `edgekit/runtimes/__init__.py` is the contract's text.

The models come from `make_models.py`.  This file needs nothing but edgekit, numpy and pytest, so
that it also runs in the environments of old runtimes (`scripts/private_env.py`).
"""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit import registry
from edgekit.errors import ArtifactError, EdgekitError, UnavailableError, UsageError
from edgekit.runtimes import available, open_session
from edgekit.tensors import Dim, DType
from edgekit.wire import onnx, tflite

MODELS = Path(__file__).parent / "models"
SUFFIXES = {"onnx": ".onnx", "tflite": ".tflite", "coreml": ".mlpackage", "pt2": ".pt2"}
PRODUCT = {"pt2": "mul"}  # how a format calls the value that is named `product` elsewhere
READERS = {"onnx": onnx, "tflite": tflite}
SCALE = np.array([1, 2, 4], np.float32)
X = np.array([[1, -2, 3], [0.25, 8, -16]], np.float32)
IDS = np.array([7, -9], np.int32)

SESSION = """
import sys
from pathlib import Path
from edgekit.errors import ArtifactError
from edgekit.runtimes import open_session
format_name, runtime, garbage, model = sys.argv[1:]
try:
    open_session(Path(garbage), format_name, runtime=runtime)
except ArtifactError:
    with open_session(Path(model), format_name, runtime=runtime) as session:
        for x in ([[1, 2, 3]], [[1, 2, 3], [4, 5, 6]]):
            session.run({"x": [[float(value) for value in row] for row in x]})
"""


class Case:
    """A runtime with a format that it executes."""

    def __init__(self, runtime: str, format_name: str) -> None:
        self.runtime, self.format = runtime, format_name

    def path(self, model: str) -> Path:
        return MODELS / f"{model}{SUFFIXES[self.format]}"

    def open(self, path: Path, threads: int = 1):
        return open_session(path, self.format, runtime=self.runtime, threads=threads)

    def __str__(self) -> str:
        return f"{self.runtime}-{self.format}"


CASES = [
    Case(name, format_name)
    for name, module in registry.load_all("runtimes").items()
    for format_name in module.FORMATS
]


@pytest.fixture(params=CASES, ids=str)
def case(request):
    reason = registry.load("runtimes", request.param.runtime).unavailable()
    if reason is not None:
        pytest.skip(reason.message)
    return request.param


@pytest.fixture
def affine(case):
    with case.open(case.path("affine")) as session:
        yield session


@pytest.mark.parametrize("name", registry.names("runtimes"))
def test_module_has_what_the_contract_lists(name):
    module = registry.load("runtimes", name)
    assert set(module.FORMATS) <= set(SUFFIXES)
    assert isinstance(module.RANK, int)
    assert module.NOTE is None or module.NOTE.endswith(".")
    reason = module.unavailable()
    assert reason is None or (isinstance(reason, UnavailableError) and reason.message.endswith("."))


def test_version_is_a_name_and_a_number(case):
    name, _, number = registry.load("runtimes", case.runtime).version().partition(" ")
    assert name
    assert any(character.isdigit() for character in number)


def test_runtime_is_listed_as_available(case):
    assert case.runtime in available(case.format)


def test_signature_has_names_types_shapes_and_order(affine):
    inputs, outputs = affine.signature.inputs, affine.signature.outputs
    assert [(s.name, s.dtype, s.shape) for s in inputs] == [
        ("x", DType.FLOAT32, (2, 3)),
        ("ids", DType.INT32, (2,)),
    ]
    assert [(s.name, s.dtype, s.shape) for s in outputs] == [
        ("scaled", DType.FLOAT32, (2, 3)),
        ("bumped", DType.INT32, (2,)),
    ]


@pytest.mark.parametrize("model", ["affine", "dynamic"])
def test_signature_is_the_one_that_edgekit_reads_from_the_file(case, model):
    if case.format not in READERS:
        pytest.skip(f"edgekit has no independent reader of {case.format}.")
    with case.open(case.path(model)) as session:
        assert session.signature == READERS[case.format].summarize(case.path(model)).signature


def test_outputs_are_exact_and_in_order(affine):
    outputs = affine.run({"ids": IDS, "x": X})
    assert list(outputs) == ["scaled", "bumped"]
    assert outputs["scaled"].dtype == np.float32
    assert outputs["bumped"].dtype == np.int32
    np.testing.assert_array_equal(outputs["scaled"], X * SCALE + np.float32(0.5))
    np.testing.assert_array_equal(outputs["bumped"], IDS + 1)


def test_outputs_are_the_callers_own(affine):
    first = affine.run({"x": X, "ids": IDS})
    kept = {name: array.copy() for name, array in first.items()}
    second = affine.run({"x": X + 1, "ids": IDS + 1})
    for name, array in first.items():
        np.testing.assert_array_equal(array, kept[name])
        array.fill(0)
        assert second[name].any()


def test_inputs_are_left_as_they_are(affine):
    x, ids = X.copy(), IDS.copy()
    x.flags.writeable = ids.flags.writeable = False
    affine.run({"x": x, "ids": ids})
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(ids, IDS)


@pytest.mark.parametrize("dtype", [np.int64, np.int16, np.int8])
def test_other_integer_types_are_accepted(affine, dtype):
    outputs = affine.run({"x": X, "ids": IDS.astype(dtype)})
    np.testing.assert_array_equal(outputs["bumped"], IDS + 1)


def test_other_layouts_in_memory_are_accepted(affine):
    outputs = affine.run({"x": np.asfortranarray(X, np.float64), "ids": IDS[::-1]})
    np.testing.assert_array_equal(outputs["scaled"], X * SCALE + np.float32(0.5))
    np.testing.assert_array_equal(outputs["bumped"], IDS[::-1] + 1)


@pytest.mark.parametrize(
    ("feeds", "words"),
    [
        ({"x": X, "ids": np.array([2**31, 0])}, "'ids' holds values from 0 to 2147483648"),
        ({"x": X}, "missing ids"),
        ({"x": X, "ids": IDS, "y": X}, "unknown y"),
        ({"x": X[:1], "ids": IDS}, r"'x' has shape \[1, 3\]"),
        ({"x": X[0], "ids": IDS}, r"'x' has shape \[3\]"),
        ({"x": X, "ids": IDS.astype(np.float32)}, "'ids' is float32"),
        ({"x": X.astype(np.int32), "ids": IDS}, "'x' is int32"),
    ],
    ids=["overflow", "missing", "unknown", "shape", "rank", "float-for-int", "int-for-float"],
)
def test_feeds_that_do_not_fit_are_refused(affine, feeds, words):
    with pytest.raises(UsageError, match=words):
        affine.run(feeds)
    affine.run({"x": X, "ids": IDS})  # and the session works on


def test_dynamic_dimension_follows_the_feed(case):
    with case.open(case.path("dynamic")) as session:
        batch, features = session.signature.inputs[0].shape
        assert isinstance(batch, Dim)
        assert features == 3
        for size in (2, 5, 1, 5):
            x = np.arange(size * 3, dtype=np.float32).reshape(size, 3)
            np.testing.assert_array_equal(session.run({"x": x})["doubled"], x * 2)
        with pytest.raises(UsageError):
            session.run({"x": np.zeros((2, 4), np.float32)})


def test_watched_value_comes_beside_the_outputs(case, affine):
    name = PRODUCT.get(case.format, "product")
    feeds = {"x": X, "ids": IDS}
    try:
        outputs = affine.run(feeds, watch=[name, "scaled"])
    except UsageError as error:
        pytest.skip(error.message)
    assert set(outputs) == {"scaled", "bumped", name}
    np.testing.assert_array_equal(outputs[name], X * SCALE)
    np.testing.assert_array_equal(outputs["scaled"], X * SCALE + np.float32(0.5))
    assert set(affine.run(feeds)) == {"scaled", "bumped"}


def test_unknown_value_cannot_be_watched(affine):
    with pytest.raises(UsageError, match="nonsense"):
        affine.run({"x": X, "ids": IDS}, watch=["nonsense"])


@pytest.mark.parametrize("threads", [1, 2])
def test_number_of_threads_can_be_set(case, threads):
    with case.open(case.path("affine"), threads=threads) as session:
        np.testing.assert_array_equal(session.run({"x": X, "ids": IDS})["bumped"], IDS + 1)


def test_two_sessions_do_not_disturb_each_other(case, affine):
    with case.open(case.path("affine")) as other:
        other.run({"x": X * 0, "ids": IDS * 0})
        outputs = affine.run({"x": X, "ids": IDS})
    np.testing.assert_array_equal(outputs["bumped"], IDS + 1)
    np.testing.assert_array_equal(affine.run({"x": X, "ids": IDS})["bumped"], IDS + 1)


def test_closed_session_refuses_to_run(case):
    with case.open(case.path("affine")) as session:
        pass
    session.close()
    with pytest.raises(UsageError, match="closed"):
        session.run({"x": X, "ids": IDS})


def test_missing_file_is_named(case, tmp_path):
    path = tmp_path / f"absent{SUFFIXES[case.format]}"
    with pytest.raises(ArtifactError, match=path.name):
        case.open(path)


@pytest.mark.parametrize("content", [b"", b"\0", b"This is no model at all.", bytes(4096)])
def test_garbage_is_refused(case, tmp_path, content):
    path = tmp_path / f"garbage{SUFFIXES[case.format]}"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=path.name):
        case.open(path)


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
def test_cut_off_file_is_refused(case, tmp_path, kept):
    path = tmp_path / case.path("affine").name
    source = case.path("affine")
    if source.is_dir():
        shutil.copytree(source, path)
    else:
        shutil.copy(source, path)
    file = next(path.rglob("*.mlmodel"), path) if path.is_dir() else path
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * kept)])
    with pytest.raises(EdgekitError) as raised:
        case.open(path)
    assert isinstance(raised.value, ArtifactError)


def test_nothing_is_written_to_the_terminal(case, tmp_path):
    """Of a fresh process, since some engines greet only once."""
    garbage = tmp_path / f"garbage{SUFFIXES[case.format]}"
    garbage.write_bytes(b"This is no model at all.")
    opened = [sys.executable, "-c", SESSION, case.format, case.runtime]
    run = subprocess.run(
        [*opened, str(garbage), str(case.path("dynamic"))], capture_output=True, text=True
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
