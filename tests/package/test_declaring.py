"""Declarations: where they are found, and what is said of wrong ones."""

from dataclasses import replace

import pytest

from edgekit import DType, Signature, TensorSpec
from edgekit.errors import UsageError
from edgekit.processing.binding import bind
from edgekit.processing.declared import find, load

IMAGE = Signature(
    (TensorSpec("image", DType.FLOAT32, (1, 3, 8, 8)),), (TensorSpec("y", DType.FLOAT32, (1, 2)),)
)


def declare(tmp_path, text):
    path = tmp_path / "edgekit.toml"
    path.write_text(text)
    return load(path)


def test_toml_beside_a_model_and_mappings_in_it(tmp_path):
    (tmp_path / "edgekit.toml").write_text(
        "[preprocess.image]\nkind = 'image'\nsize = 8\nresize = 'stretch'\n"
    )
    model = tmp_path / "model.py"
    model.write_text("LABELS = ('cat', *('dog',))\n")
    found = find(f"{model}:build")
    assert found.before[0].options["size"] == (8, 8)
    assert bind(found, IMAGE).after[0].kind == "values"
    model.write_text(
        "raise SystemExit\nSIZE = 4 * 2\nN = 8\nLABELS = ['a', 'b']\n"
        "PREPROCESS = {'photo': {'kind': 'image', 'input': 'image', 'resize':"
        "'stretch', 'size': [N, N]}}\nPOSTPROCESS = {'y': {'kind': 'Classes'}}"
    )
    found = find(str(model))
    bound = bind(found, IMAGE)
    assert [step.name for step in bound.before] == ["photo"]
    assert bound.after[0].options["labels"] == ("a", "b")
    model.write_text(model.read_text().replace("[N, N]", "SIZE"))
    with pytest.raises(UsageError, match="PREPROCESS is computed"):
        find(str(model))


def test_a_step_for_floats_is_refused_where_the_artifact_takes_integers(tmp_path):
    """A picture in 0..1 would become zeros and ones, without a word."""
    narrow = [
        tuple(replace(spec, dtype=DType.INT8, scale=1 / 255, zero_point=-128) for spec in specs)
        for specs in (IMAGE.inputs, IMAGE.outputs)
    ]
    picture = declare(
        tmp_path, "[preprocess.image]\nkind = 'image'\nsize = 8\nresize = 'stretch'\n"
    )
    with pytest.raises(UsageError, match="'image' is for floats"):
        bind(picture, Signature(narrow[0], IMAGE.outputs))
    classes = declare(tmp_path, "[postprocess.animal]\nkind = 'classes'\noutput = 'y'\ntop_k = 1\n")
    with pytest.raises(UsageError, match="'animal' is for floats"):
        bind(classes, Signature(IMAGE.inputs, narrow[1]))


WRONG = {
    "[prepare.x]\nkind = 'image'": r"no section \[prepare\]",
    "[preprocess.x]\nsize = 8": r"\[preprocess.x\] has no kind",
    "[preprocess.x]\nkind = 'imagee'": "no kind of step named 'imagee'",
    "[preprocess.X]\nkind = 'image'": "becomes a name in code",
    "[preprocess.x]\nkind = 'image'\nsiez = 8": "unknown key 'siez'",
    "[preprocess.x]\nkind = 'image'\nsize = 'big'": "a whole number from 1, not 'big'",
    "[preprocess.x]\nkind = 'image'\nsize = 8": "needs both resize and size",
    "[preprocess.x]\nkind = 'image'\nstd = [1, 0]": "std must be a number above 0",
    "[preprocess.x]\nkind = 'image'\nresize = 'fit'": "must be one of none, stretch",
    "[preprocess.x]\nkind = 'tokens'\nlength = 3": "vocabulary is missing",
    "[preprocess]\nx = 3": r"\[preprocess.x\] is not a table",
    "[postprocess.x]\nkind = 'boxes'": "corners is missing",
    "x = [": "is not TOML",
}


@pytest.mark.parametrize("text", WRONG, ids=list(WRONG.values()))
def test_wrong_declarations_are_named(tmp_path, text):
    with pytest.raises(UsageError, match=WRONG[text]) as raised:
        declare(tmp_path, text)
    assert raised.value.message.count("\n") == 0


MISFITS = {
    "[preprocess.photo]\nkind = 'image'": "names 'photo', and the model has no such input",
    "[preprocess.image]\nkind = 'image'\nsize = 4\nresize = 'stretch'": "4 x 4 pixels",
    "[preprocess.image]\nkind = 'image'\nchannels = 'gray'": "picture of 1 channels",
    "[preprocess.image]\nkind = 'image'\nmean = [1, 2]": "has 2 values in mean",
    "[preprocess.image]\nkind = 'image'\n[preprocess.b]\nkind='tensor'\ninput='image'": "two steps",
    "[postprocess.y]\nkind = 'classes'\nlabels = ['a']": "has 1 labels for 2 classes",
    "[postprocess.y]\nkind = 'classes'\nlabels = 'none.txt'": "none.txt cannot be read",
    "[postprocess.y]\nkind = 'class_map'": r"reads scores \[1, classes, height, width\]",
}


@pytest.mark.parametrize("text", MISFITS, ids=list(MISFITS.values()))
def test_what_does_not_fit_the_artifact_is_named(tmp_path, text):
    with pytest.raises(UsageError, match=MISFITS[text]):
        bind(declare(tmp_path, text), IMAGE)
