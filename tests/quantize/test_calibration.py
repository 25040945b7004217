"""Calibration data: every way to give it, and everything that can be wrong with it."""

import numpy as np
import pytest

from edgekit.errors import SourceError, UsageError
from edgekit.plan import plan
from edgekit.processing.declared import load
from edgekit.processing.schema import Processing
from edgekit.quantize.calibration import portable, read
from edgekit.quantize.pictures import reader
from edgekit.recipe import FOLDER, Recipe
from edgekit.tensors import DType, Signature, TensorSpec

EXAMPLE = {"x": np.zeros((1, 4), np.float32)}
PAIR = {**EXAMPLE, "mask": np.ones((1, 4), bool)}
ROWS = np.arange(12, dtype=np.float32).reshape(3, 4)


def values(data):
    return np.concatenate([each["x"] for each in data.samples])


def test_an_npz_file_is_cut_into_samples(tmp_path) -> None:
    np.savez(tmp_path / "c.npz", x=ROWS)
    data = read(tmp_path / "c.npz", EXAMPLE)
    assert len(data.samples) == 3
    assert data.origin == str(tmp_path / "c.npz")
    np.testing.assert_array_equal(values(data), ROWS)


def test_a_folder_of_npy_files_feeds_the_only_input(tmp_path) -> None:
    for index, row in enumerate(ROWS):
        np.save(tmp_path / f"{index}.npy", row[None])
    np.testing.assert_array_equal(values(read(str(tmp_path), EXAMPLE)), ROWS)
    with pytest.raises(UsageError, match="takes 2 inputs"):
        read(str(tmp_path), PAIR)


@pytest.mark.parametrize(
    "body",
    ["return {'x': ROWS}", "return [{'x': r[None]} for r in ROWS]", "yield from ROWS[:, None]"],
)
def test_a_function_gives_samples(tmp_path, body) -> None:
    file = tmp_path / "data.py"
    file.write_text(
        "import numpy as np\nROWS = np.arange(12, dtype=np.float32).reshape(3, 4)\n"
        f"def samples():\n    {body}\n"
    )
    np.testing.assert_array_equal(values(read(f"{file}:samples", EXAMPLE)), ROWS)


def test_a_function_that_fails_is_blamed(tmp_path) -> None:
    file = tmp_path / "data.py"
    file.write_text("def samples():\n    yield 1 / 0\n")
    with pytest.raises(SourceError, match=r"samples failed at .*data.py:2: ZeroDivisionError"):
        read(f"{file}:samples", EXAMPLE)
    with pytest.raises(UsageError, match="no function 'nothing'"):
        read(f"{file}:nothing", EXAMPLE)


def test_samples_in_memory_reach_another_process(tmp_path) -> None:
    rows = [(row[None], np.ones((1, 4), bool)) for row in ROWS]
    data = read(portable(rows, tmp_path), PAIR, "memory")
    assert data.origin == "memory"
    np.testing.assert_array_equal(values(data), ROWS)
    np.testing.assert_array_equal(values(read(rows, PAIR)), ROWS)


def test_samples_with_nan_are_left_out_and_said() -> None:
    bad = ROWS.copy()
    bad[1, 2] = np.nan
    data = read({"x": bad}, EXAMPLE)
    assert len(data.samples) == 2
    assert data.notes == ("1 calibration samples hold NaN or infinity and were left out",)
    with pytest.raises(UsageError, match="no sample without NaN"):
        read({"x": np.full_like(ROWS, np.inf)}, EXAMPLE)


def test_an_input_that_never_changes_is_said() -> None:
    (note,) = read({"x": np.ones((3, 4), np.float32)}, EXAMPLE).notes
    assert note == "the input 'x' is the same in all 3 calibration samples"


def test_random_is_only_used_when_asked_for() -> None:
    assert read("random", EXAMPLE).origin == "random"
    with pytest.raises(UsageError, match="needs calibration data") as found:
        plan("model.py", recipe="int8")
    assert "--calibrate random" in found.value.hint
    with pytest.raises(UsageError, match="takes no calibration data"):
        plan("model.py", recipe="fp16", calibration="random")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "empty"),
        ([(1, 2)], "has 2 values"),
        ({"y": ROWS}, "no array named 'x'"),
        ({"x": np.zeros((3, 5), np.float32)}, "has shape"),
        ("absent.npz", "no input data"),
    ],
)
def test_what_does_not_fit_is_refused(given, message) -> None:
    with pytest.raises(UsageError, match=message):
        read(given, EXAMPLE)


def test_a_recipe_of_ones_own_is_a_file(tmp_path) -> None:
    text = (FOLDER / "static_wi8_ai8.toml").read_text().replace("auto", "mse")
    (tmp_path / "mine.toml").write_text(text)
    recipe = plan("model.py", recipe=tmp_path / "mine.toml", calibration="random").recipe
    assert (recipe.name, recipe.calibration.method) == ("mine", "mse")
    assert Recipe.from_json(recipe.to_json()) == recipe
    (tmp_path / "bad.toml").write_text(text.replace('"mse"', '"guess"'))
    with pytest.raises(UsageError, match="method must be one of auto"):
        plan("model.py", recipe=str(tmp_path / "bad.toml"), calibration="random")


def test_a_folder_of_pictures_goes_through_the_declared_processing(tmp_path) -> None:
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "pictures").mkdir()
    for index, value in enumerate((0, 51, 255)):
        pixels = np.full((10, 12, 3), value, np.uint8)
        image.fromarray(pixels).save(tmp_path / "pictures" / f"{index}.png")
    declared = tmp_path / "edgekit.toml"
    steps = ("[preprocess.photo]", 'kind = "image"', 'input = "x"', 'resize = "stretch"')
    declared.write_text("\n".join((*steps, "size = 4", "divide_by = 255", "")))
    signature = Signature((TensorSpec("x", DType.FLOAT32, (1, 3, 4, 4)),), ())
    pictures = reader(lambda: load(declared), signature)
    example = {"x": np.zeros((1, 3, 4, 4), np.float32)}
    data = read(tmp_path / "pictures", example, pictures=pictures)
    assert [float(each["x"].mean()) for each in data.samples] == pytest.approx([0, 0.2, 1])
    with pytest.raises(UsageError, match="does not declare how"):
        read(tmp_path / "pictures", example, pictures=reader(Processing, signature))
