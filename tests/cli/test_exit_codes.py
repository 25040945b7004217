"""Exit codes, and what stands on which stream beside them, through a real process."""

import json

import pytest

from edgekit.artifact import open_artifact

FORMAT = ("--to", "faulty_format")
NOTE = {"environment": {"FAULTY_RUNTIME_NOTE": "A stand-in."}}


@pytest.fixture
def convert(faulty, doubler, tmp_path, shell):
    """Convert the tiny model with the converter that fails on demand."""

    def run(*arguments, **more):
        return shell("convert", doubler, *FORMAT, "-o", tmp_path / "out", *arguments, **more)

    return run


def test_0_the_artifact_is_right(convert, tmp_path):
    ran = convert("--no-cache", **NOTE)
    assert ran.code == 0
    assert "passed" in ran.out
    assert "A stand-in." in ran.err
    assert open_artifact(tmp_path / "out" / "doubler.faulty").recipe == "fp32"


@pytest.mark.parametrize("quiet", [[], pytest.param(["-q"], marks=pytest.mark.slow)])
def test_1_the_conversion_failed(convert, quiet):
    ran = convert("--fault", "segfault", *quiet)
    assert ran.code == 1
    assert "Converting crashed (SIGSEGV)." in ran.err
    assert "hint: " in ran.err
    assert "Traceback" not in ran.err + ran.out
    assert "segfault" not in ran.out


def test_1_verbose_shows_where(convert):
    assert "Traceback" in convert("--fault", "raise", "-v").err


def test_1_the_model_cannot_be_loaded(shell, tmp_path):
    ran = shell("convert", tmp_path / "absent.py", "-o", tmp_path / "out")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("error: There is no file")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("convert", "m.py", "--to", "onxx"), "Did you mean 'onnx'?"),
        (("convert", "m.py", "--recipe", "fp15"), "Did you mean 'fp16'?"),
        (("convert", "m.py", "--reciep", "fp16"), "Did you mean"),
        (("convrt", "m.py"), "Did you mean 'convert'?"),
        (("frobnicate",), "Known: benchmark, compare"),
        (("convert",), "Missing argument 'SOURCE'"),
        ((), "Usage: "),
    ],
)
def test_2_the_request_is_not_well_formed(shell, tmp_path, arguments, said):
    ran = shell(*arguments, cwd=tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert list(tmp_path.iterdir()) == []


def test_2_an_unknown_runtime(shell, affine):
    ran = shell("benchmark", affine, "--runtime", "onnx-runtim")
    assert (ran.code, ran.out) == (2, "")
    assert "Did you mean 'onnxruntime'?" in ran.err


def test_3_the_artifact_is_wrong(convert):
    ran = convert("--fault", "swapped", "--json", "-q")
    [result] = json.loads(ran.out)["results"]
    assert (ran.code, result["status"]) == (3, "failed")
    assert "verification failed" in ran.err
    assert result["rejected"].endswith("doubler.faulty.rejected")


def test_3_nothing_here_could_run_it_though_that_was_required(convert):
    absent = {"environment": {"FAULTY_RUNTIME_ABSENT": "1"}}
    ran = convert(**absent)
    assert (ran.code, "not run" in ran.out) == (0, True)
    assert "The faulty runtime is not installed" in ran.err
    ran = convert("--require-verified", "-q", **absent)
    assert ran.code == 3
    assert "The faulty runtime is not installed" in ran.err


def test_3_the_artifact_is_not_that_model_any_more(convert, doubler, shell, tmp_path):
    assert convert("--no-cache", "-q", **NOTE).err == ""
    artifact = tmp_path / "out" / "doubler.faulty"
    assert shell("verify", artifact).code == 0
    other = tmp_path / "other.py"
    other.write_text(doubler.read_text().replace("tensor(2.0)", "tensor(2.001)"))
    ran = shell("verify", artifact, other, "-q")
    assert ran.code == 3
    assert ran.out.startswith("failed in faulty 1.0")
    assert "doubled: SQNR is" in ran.err
