"""Targets: what ships is whole and sourced; a mistake in a user's file is named."""

import json
import tomllib

import pytest
from click.testing import CliRunner

import edgekit
from edgekit.cli import cli
from edgekit.errors import UnknownNameError, UsageError
from edgekit.target import FOLDER, load_target, targets

NAMES = [
    "raspberry-pi-3",
    "raspberry-pi-4",
    "raspberry-pi-5",
    "zero-2w",
    "orin-nano",
    "x86-avx512",
    "pixel-8",
    "pixel-9",
    "galaxy-s24",
    "iphone-15",
    "iphone-16",
    "macbook-m3",
    "coral-edge-tpu",
    "ethos-u55-128",
    "ethos-u85-256",
    "rk3588",
    "hexagon-v75",
    "intel-npu",
    "mcu-cortex-m55",
]

MINE = """
description = "Mine."
kind = "board"
[defaults]
format = "tflite"
recipe = "int8"
runtime = "LiteRT"
source = "taste"
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEKIT_CONFIG", str(tmp_path / "config"))


@pytest.mark.parametrize("name", NAMES)
def test_every_fact_has_a_source(name):
    target = edgekit.load_target(name)
    assert target.name == name
    facts = [target.defaults, target.soc, target.memory, target.compiler]
    facts += [*target.cpu, *target.accelerators]
    assert [each for each in facts if each is not None and len(each.source) < 5] == []
    assert [
        each for each in target.accelerators if each.operators and not each.operators_source
    ] == []
    assert json.loads(json.dumps(target.to_json()))["name"] == name


def test_all_that_ship_are_known():
    assert sorted(path.stem for path in FOLDER.glob("*.toml")) == sorted(NAMES)


def test_names_are_forgiving_and_typos_get_the_nearest():
    assert load_target("Raspberry_Pi 5".replace(" ", "")).name == "raspberry-pi-5"
    with pytest.raises(UnknownNameError) as caught:
        load_target("rasbery-pi-5")
    assert caught.value.hint == "Did you mean 'raspberry-pi-5'?"


def test_users_targets_are_found_and_win(tmp_path):
    (tmp_path / "targets").mkdir()
    (tmp_path / "config/targets").mkdir(parents=True)
    (tmp_path / "config/targets/robot.toml").write_text(MINE)
    (tmp_path / "targets/pixel-8.toml").write_text(MINE)
    assert load_target("robot").description == "Mine."
    assert load_target("pixel-8").description == "Mine."
    assert {"robot", "pixel-8", "pixel-9"} <= set(targets())


@pytest.mark.parametrize(
    ("change", "said", "hint"),
    [
        (("kind", "kynd"), r"mine\.toml: there is no key 'kynd'", "Did you mean 'kind'?"),
        (("source", "sauce"), r"defaults: there is no key 'sauce'", "Did you mean 'source'?"),
        (('source = "taste"', ""), r"defaults: source is missing", None),
        (('kind = "board"', "kind = 3"), r"kind must be a text, not 3", None),
        (('kind = "board"', 'kind = "car"'), r"kind must be one of accelerator, board", None),
        (("tflite", "tflight"), r"no format named 'tflight'", "Did you mean 'tflite'?"),
        (("int8", "int9"), r"no recipe named 'int9'", "Did you mean 'int8'?"),
        (("[defaults]", "[defaults]\nthreads = 0"), r"threads must be 1 or more", None),
        (("[defaults]", "[defaults]\nthreads = true"), r"threads must be a whole number", None),
        (("[defaults]", "[defaults]\nproviders = 'x'"), r"providers must be a list", None),
        (("[defaults]", "defaults"), r"no readable TOML", None),
    ],
)
def test_mistakes_are_named(tmp_path, change, said, hint):
    path = tmp_path / "mine.toml"
    path.write_text(MINE.replace(*change))
    with pytest.raises(UsageError, match=said) as caught:
        load_target(path)
    assert hint is None or caught.value.hint == hint


def test_command_lists_and_shows():
    run = CliRunner().invoke
    listed = run(cli, ["targets"])
    assert [line.split()[0] for line in listed.output.splitlines()[1:]] == sorted(NAMES)
    shown = run(cli, ["targets", "coral-edge-tpu"]).output
    assert "DEPTHWISE_CONV_2D" in shown
    assert "supported operations" in shown
    data = json.loads(run(cli, ["targets", "ETHOS-U55_128", "--json"]).output)
    assert data == json.loads(json.dumps(load_target("ethos-u55-128").to_json()))
    assert data["compiler"]["options"]["accelerator"] == "ethos-u55-128"
    assert len(json.loads(run(cli, ["targets", "--json"]).output)) == len(NAMES)


def test_files_are_toml_that_any_reader_takes():
    for name in NAMES:
        assert tomllib.loads((FOLDER / f"{name}.toml").read_text())["description"].endswith(".")
