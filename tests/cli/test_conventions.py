"""What every command keeps to: light start, JSON, two streams, colour, names, talk."""

import json
import subprocess
import sys

import pytest

from edgekit import cli, conversion, registry

COMMANDS = registry.names("cli")
HEAVY = {
    *("torch", "numpy", "rich", "safetensors", "transformers", "sklearn"),
    *("onnx", "onnx_ir", "onnxscript", "onnxruntime", "litert_torch", "litert_converter"),
    *("ai_edge_litert", "ai_edge_quantizer", "coremltools", "tensorflow", "tflite_runtime"),
}
ESCAPE = "\x1b"


@pytest.mark.parametrize(
    "action",
    ["from edgekit.cli import main; main(['--help'])", "import edgekit; dir(edgekit)"],
    ids=["help", "import"],
)
def test_starting_imports_nothing_heavy(action):
    code = f"import atexit, sys; atexit.register(lambda: print(*sys.modules)); {action}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert "edgekit" in loaded
    assert loaded & HEAVY == set()


def test_help_says_of_each_command_what_the_command_says():
    assert {name: registry.load("cli", name).command.short_help for name in COMMANDS} == (
        cli._SUMMARIES
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_the_common_options_and_its_help(edgekit, name):
    ran = edgekit(name, "--help")
    assert (ran.code, ran.err) == (0, "")
    for option in ("--json", "--verbose", "--quiet"):
        assert option in ran.out


# -- Streams ---------------------------------------------------------------------------------------


@pytest.fixture
def converted(faulty, doubler, tmp_path, edgekit):
    """Return the path of an artifact that has a sidecar."""
    ran = edgekit("convert", doubler, "--to", "faulty_format", "-o", tmp_path)
    assert ran.code == 0
    return tmp_path / "doubler.faulty"


def test_json_is_all_there_is_on_stdout(edgekit, converted, affine, doubler, tmp_path):
    commands = {
        "convert": (doubler, "--to", "faulty_format", "-o", tmp_path),
        "verify": (converted,),
        "inspect": (affine,),
        "benchmark": (affine, "--runs", 2),
        "compare": (affine, affine, "--interleave", "--rounds", 10, "--turn", "1ms"),
        "doctor": (),
        "targets": (),
        "devices": (),
    }
    assert {*commands, "package"} == set(COMMANDS)  # package wants a real model: its own suite
    for name, arguments in commands.items():
        ran = edgekit(name, *arguments, "--json")
        assert ran.code == 0, ran.err
        data = json.loads(ran.out)
        for each in data if isinstance(data, list) else [data]:
            assert isinstance(each["schema_version"], int), name
        assert ran.err == "", name


def test_json_of_several_files_is_a_list(edgekit, affine):
    listed = json.loads(edgekit("inspect", affine, affine, "--json").out)
    assert [each["schema_version"] for each in listed] == [1, 1]


def test_no_escape_codes_without_a_terminal(edgekit, converted, affine, doubler, monkeypatch):
    monkeypatch.setenv("CLICOLOR_FORCE", "0")
    for arguments in (("doctor",), ("inspect", affine), ("verify", converted), ("--help",)):
        ran = edgekit(*arguments)
        assert ran.code == 0
        assert ESCAPE not in ran.out + ran.err


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colour_is_honoured_on_a_terminal(monkeypatch, environment):
    from edgekit.cli import _options

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    assert _options.out()._color_system is not None
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    console = _options.out()
    assert console.no_color or console._color_system is None


def test_a_reader_that_leaves_early_is_no_error(affine):
    command = f"{sys.executable} -m edgekit inspect {affine} --json | head -c 1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("{", "")


def test_a_full_disk_under_stdout_is_one_sentence(affine):
    command = f"{sys.executable} -m edgekit inspect {affine} --json > /dev/full"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: Standard output: No space left on device.\n"


# -- Plans -----------------------------------------------------------------------------------------


def test_a_dry_run_only_says_what_would_be_done(edgekit, doubler, tmp_path, monkeypatch):
    monkeypatch.setattr(conversion, "run", lambda *_: pytest.fail("it ran"))
    out = tmp_path / "out"
    ran = edgekit("convert", doubler, "--to", "onnx,TFLite", "-o", out, "--dry-run")
    plan = json.loads(ran.out)
    assert (ran.code, plan["recipe"], list(plan["formats"])) == (0, "fp32", ["onnx", "tflite"])
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "recipe", "formats"),
    [
        (["--to", "ONNX", "--to", "CoreML"], "fp32", ["onnx", "coreml"]),
        (["--to", "core-ml,core_ml"], "fp32", ["coreml"]),
        (["--to", "onnx", "--recipe", "FP-16"], "fp16", ["onnx"]),
        (["--to", "onnx", "--recipe", "Half"], "fp16", ["onnx"]),
        ([], "fp32", ["onnx", "tflite", "coreml"]),
    ],
)
def test_spelling_does_not_matter(edgekit, doubler, arguments, recipe, formats):
    plan = json.loads(edgekit("Convert", doubler, "--dry-run", *arguments).out)
    assert (plan["recipe"], list(plan["formats"])) == (recipe, formats)


# -- Talk ------------------------------------------------------------------------------------------


def test_only_verbose_shows_the_traceback(edgekit):
    ran = edgekit("inspect", "absent.onnx")
    assert (ran.code, ran.out, ran.err) == (1, "", "error: There is no file absent.onnx.\n")
    ran = edgekit("inspect", "absent.onnx", "-v")
    assert ran.err.startswith("Traceback (most recent call last)")
    assert ran.err.endswith("error: There is no file absent.onnx.\n")


def test_a_bug_of_ours_is_said_to_be_one(edgekit, monkeypatch):
    monkeypatch.setattr("edgekit.diagnosis.diagnose", lambda: {}["absent"])
    ran = edgekit("doctor")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("error: edgekit itself failed: KeyError: 'absent'\n")
    assert "This is a bug" in ran.err
    assert "Traceback" in edgekit("doctor", "-v").err
