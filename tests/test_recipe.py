"""Recipes: found by any of their names, and a file that is wrong says where."""

import json

import pytest

from edgekit.errors import UnknownNameError, UsageError
from edgekit.recipe import Precision, Recipe, _read, load_recipe

GOOD = """description = "Half."
aliases = ["half"]
weights = "float16"
activations = "float32"
[tolerance]
sqnr_db = 40
cosine = 0.99
max_abs_of_peak = 0.1
integer_agreement = 1.0
"""


@pytest.mark.parametrize("name", ["fp16", "FP16", "fp-16", "Float_16", "half", " half "])
def test_every_spelling_finds_the_recipe(name):
    assert load_recipe(name).name == "fp16"
    assert load_recipe(load_recipe(name)) is load_recipe("fp16")


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("int8", "static_wi8_ai8"),
        ("w8a8", "static_wi8_ai8"),
        ("w8a32", "dynamic_wi8_afp32"),
        ("w8-a16", "static_wi8_ai16"),
        ("int4", "weight_only_wi4_afp32"),
    ],
)
def test_aliases_of_the_field_are_known(name, full):
    assert load_recipe(name).name == full


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(UnknownNameError, match="'fp15'") as raised:
        load_recipe("fp15")
    assert raised.value.hint == "Did you mean 'fp16'?"


def test_a_recipe_file_is_read_whole(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    recipe = _read(path)
    assert (recipe.name, recipe.aliases, recipe.tolerance.sqnr_db) == ("mine", ("half",), 40)
    assert recipe.bytes_for(10) == 20
    assert Recipe.from_json(recipe.to_json()) == recipe


CALIBRATION = "[calibration]\nmethod = 'mse'\n"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("cosine = 0.99", "cosin = 0.99", "unknown key cosin"),
        (
            "[tolerance]",
            "[[override]]\nweights = 'int8'\n[tolerance]",
            "say which layer",
        ),
        ("[tolerance]", "[[override]]\nlayer = 'a'\n[tolerance]", "override 1 changes nothing"),
        ("[tolerance]", "[[override]]\nlayer = '('\n[tolerance]", "layer must be a regular expr"),
        ("[tolerance]", "[override]\nlayer = 'a'\n[tolerance]", r"tables \[\[override\]\]"),
        ('"float32"', '"int8"', "activations int8 go with weights int8"),
        ('"float32"', '"dynamic"', "activations dynamic go with weights int8 or int4"),
        ('"float32"', '"float32"\nsparsity = 1.5', "sparsity must be at least 0 and below 1"),
        ("[tolerance]", "[calibration]\nmethod = 'mse'\n[tolerance]", "calibration is for"),
        (
            "[tolerance]",
            f"{CALIBRATION}equalize = 1\n[tolerance]",
            "equalize must be true or false",
        ),
        (
            "[tolerance]",
            f"{CALIBRATION}migration_strength = 2\n[tolerance]",
            "migration_strength must be at least 0 and at most 1",
        ),
        (
            "[tolerance]",
            f"{CALIBRATION}rounding = 'up'\n[tolerance]",
            "rounding must be one of nearest, adaptive",
        ),
        ("[tolerance]", f"{CALIBRATION}equalise = true\n[tolerance]", "unknown key equalise"),
        ("description", "descripton", "unknown key descripton"),
        ("cosine = 0.99\n", "", "cosine must be given"),
        ('aliases = ["half"]\n', "", "aliases must be given"),
        ("sqnr_db = 40", 'sqnr_db = "40"', "sqnr_db must be a finite number"),
        ("sqnr_db = 40", "sqnr_db = true", "sqnr_db must be a finite number"),
        ("sqnr_db = 40", "sqnr_db = nan", "sqnr_db must be a finite number"),
        ('["half"]', '"half"', "aliases must be a list of texts"),
        ('["half"]', "[1]", "aliases must be a list of texts"),
        ('"Half."', "5", "description must be a text"),
        ('"float16"', '"float15"', "weights must be one of float32, float16"),
        ('"float32"', "[]", "activations must be one of float32, float16"),
        ("[tolerance]", "tolerance = 5\n[other]", "unknown key other"),
        ("weights = ", "weights ", "is no readable TOML file"),
    ],
)
def test_what_is_wrong_with_a_recipe_file_is_said(tmp_path, before, after, said):
    assert GOOD.count(before) == 1
    path = tmp_path / "mine.toml"
    path.write_text(GOOD.replace(before, after))
    with pytest.raises(UsageError, match=said) as raised:
        _read(path)
    assert str(path) in raised.value.message


def test_a_tolerance_must_be_a_table(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD.partition("[tolerance]")[0] + "tolerance = 5\n")
    with pytest.raises(UsageError, match="tolerance is 5, not a table"):
        _read(path)


def test_a_mistyped_key_gets_the_nearest(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD.replace("activations", "activation"))
    with pytest.raises(UnknownNameError, match="unknown key activation") as raised:
        _read(path)
    assert raised.value.hint == "Did you mean 'activations'?"


MIXED = """base = "int8"

[[override]]
layer = "^head"
weights = "float32"
activations = "float32"

[[override]]
operator = "conv2d"
activations = "int16"
"""


def test_a_recipe_builds_on_another(tmp_path):
    path = tmp_path / "mixed.toml"
    path.write_text(MIXED)
    recipe, base = load_recipe(str(path)), load_recipe("int8")
    assert (recipe.name, recipe.aliases) == ("mixed", ())
    assert (recipe.tolerance, recipe.calibration) == (base.tolerance, base.calibration)
    assert recipe.at("stem", "linear") == base.precision
    assert recipe.at("head.0", "linear") == Precision("float32", "float32")
    assert recipe.at("stem", "conv2d") == Precision("int8", "int16")
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    more = tmp_path / "more.toml"
    more.write_text(
        'base = "mixed.toml"\n[[override]]\nlayer = "stem"\nweights = "float32"\n'
        'activations = "float32"\n'
    )
    later = load_recipe(str(more))
    assert later.at("stem", "conv2d") == Precision("float32", "float32")  # the last one wins
    assert later.at("body", "conv2d") == Precision("int8", "int16")


@pytest.mark.parametrize("granularity", ["tensor", "block_32"])
def test_static_recipes_have_a_scale_per_channel_and_no_other(tmp_path, granularity) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'base = "int8"\ngranularity = "{granularity}"\n')
    with pytest.raises(UsageError, match="one scale per channel"):
        load_recipe(path)
