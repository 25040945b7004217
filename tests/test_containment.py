"""Converters that crash, hang, lie or make noise: one clear sentence, and nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from edgekit import convert, export, worker
from edgekit.errors import ConversionError, ExportError, SourceError, UsageError

FAILURES = {
    "raise": ("Converting failed: ValueError: operator frobnicate is not known", "story is in"),
    "segfault": ("Converting crashed (SIGSEGV).", ".log"),
    "disk_full": ("The disk is full where", "Make room"),
}
ENDS = {
    "kill": ("The worker was killed, most likely for want of memory.", ".log"),
    "exit": ("The worker ended without an answer (exit code 7).", ".log"),
    "memory": ("Memory ran out.", "Close other programs."),
}


def faulty_convert(source, out, fault, **more):
    report = convert(
        source, formats=["faulty-format"], output_dir=out, options={"fault": fault}, **more
    )
    return report.results[0]


@pytest.mark.parametrize("fault", FAILURES)
def test_a_converter_that_dies_is_one_sentence_and_leaves_no_file(faulty, program, tmp_path, fault):
    out = tmp_path / "out"
    result = faulty_convert(program, out, fault)
    message, hint = FAILURES[fault]
    assert result.status == "failed"
    assert isinstance(result.error, ConversionError)
    assert result.error.message.startswith(message)
    assert hint in result.error.hint
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("fault", ENDS)
def test_how_a_worker_ended_is_said(faulty, tmp_path, fault):
    """A converter alone, without the conversion around it: that takes no torch."""
    message, hint = ENDS[fault]
    request = {"program": None, "recipe": None, "options": {"fault": fault}, "destination": ""}
    run = worker.start(tmp_path / "worker.log")
    with pytest.raises(ConversionError) as raised:
        worker.call(run, "faulty_format:lower", request, timeout=60)
    assert raised.value.message.startswith(message)
    assert hint in raised.value.hint


def test_a_converter_that_hangs_is_stopped(faulty, program, tmp_path):
    out = tmp_path / "out"
    result = faulty_convert(program, out, "hang", timeout=15)
    assert "did not finish within 15 s" in result.error.message
    assert "--timeout" in result.error.hint
    assert list(out.iterdir()) == []


def test_one_format_failing_does_not_stop_another(faulty, program, tmp_path):
    report = convert(
        program,
        formats=["faulty_format", "onnx"],
        output_dir=tmp_path,
        options={"fault": "segfault"},
    )
    assert [result.status for result in report.results] == ["failed", "passed"]
    assert (tmp_path / "doubler.onnx").is_file()


WRONG = {
    "wrong_factor": "doubled: SQNR is 66.0 dB, not 80.0",
    "swapped": "negated: SQNR",
    "wrong_dtype": "its type is float64, not float32",
    "nan": "doubled: 3 values are NaN or infinite where the source's are not",
    "constant": "doubled: SQNR",
    "renamed": "its outputs are other, negated, not doubled, negated",
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_artifact_is_rejected(faulty, program, tmp_path, fault):
    out = tmp_path / "out"
    result = faulty_convert(program, out, fault, isolate=False)
    assert result.status == "failed"
    assert result.artifact is None
    assert WRONG[fault] in result.verification.reason
    assert result.rejected == out / "doubler.faulty.rejected"
    assert sorted(p.name for p in out.iterdir()) == [
        "doubler.faulty.rejected",
        "doubler.faulty.rejected.json",
    ]


def test_passing_later_removes_what_was_rejected(faulty, program, tmp_path):
    out = tmp_path / "out"
    faulty_convert(program, out, "swapped", isolate=False)
    assert faulty_convert(program, out, "none", isolate=False).status == "passed"
    assert sorted(p.name for p in out.iterdir()) == ["doubler.faulty", "doubler.faulty.json"]


def test_what_a_converter_says_stays_off_the_terminal(faulty, program, tmp_path, capfd):
    assert faulty_convert(program, tmp_path / "out", "noise").status == "passed"
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""


def test_a_model_that_is_too_large_is_refused_before_any_work(faulty, tmp_path):
    large = export(torch.nn.Linear(100, 10), torch.ones(1, 100))
    result = faulty_convert(large, tmp_path / "out", "segfault")
    assert "the weights alone take" in result.error.message
    assert list((tmp_path / "out").iterdir()) == []


def test_a_recipe_that_a_format_cannot_make_is_never_replaced(faulty, program, tmp_path):
    result = faulty_convert(program, tmp_path / "out", "none", recipe="fp16")
    assert "cannot make recipe fp16: it knows fp32 only" in result.error.message


def test_an_unwritable_output_folder_is_named(program, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file/out cannot be written: Not a directory"):
        convert(program, formats=["onnx"], output_dir=tmp_path / "file" / "out")


def test_errors_of_the_model_cross_the_process_border(faulty, tmp_path):
    source = tmp_path / "branching.py"
    source.write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        return x if x.sum() > 0 else -x\n"
        "build = Net\n"
        "def example_inputs():\n    return (torch.ones(3),)\n"
    )
    absent = str(tmp_path / "absent.py")
    with pytest.raises(ExportError, match=r"branching\.py:4"):
        convert(str(source), formats=["faulty_format"], output_dir=tmp_path / "out")
    with pytest.raises(SourceError, match="There is no file"):
        convert(absent, formats=["faulty_format"], output_dir=tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def alive(text: str) -> list[int]:
    """Return the processes whose command line holds `text`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (
                text.encode() in (folder / "cmdline").read_bytes()
                and int(folder.name) != os.getpid()
            ):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc to see processes end")
@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL],
)
def test_ending_the_command_ends_its_workers(faulty, doubler, tmp_path, number):
    out = tmp_path / "out"
    cache = tmp_path / "cache"
    command = [sys.executable, "-m", "edgekit", "convert", str(doubler), "--to", "faulty_format"]
    command += ["--fault", "hang", "-o", str(out)]
    environment = os.environ | {"EDGEKIT_CACHE": str(cache)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 60
        while not list(out.glob(".edgekit-*/doubler.faulty")):
            assert time.monotonic() < deadline, process.stderr.read()
            time.sleep(0.1)
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
    deadline = time.monotonic() + 20
    while alive(str(cache)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert alive(str(cache)) == []
    if number != signal.SIGKILL:  # nobody can clean up after that one
        assert process.returncode == 130
        assert errors.strip().endswith("Interrupted.")
        assert list(out.iterdir()) == []
        assert list((cache / "work").iterdir()) == []


@pytest.mark.filterwarnings("ignore")  # the vendors' own, which a worker's log would take
def test_a_worker_can_be_called_without_isolation(program, tmp_path):
    report = convert(program, formats=["onnx"], output_dir=tmp_path, isolate=False)
    assert report.results[0].status == "passed"


def test_last_words_skip_noise(tmp_path):
    log = tmp_path / "x.log"
    log.write_text("real reason\n 12%|#  | 3/9 [00:01<00:02, 3.1it/s]\r\n   ^^^^\n\n")
    assert worker.last_words(log) == "real reason"
    assert worker.last_words(tmp_path / "none.log") == ""


def test_sidecars_and_reports_are_json(faulty, program, tmp_path):
    result = faulty_convert(program, tmp_path / "out", "none", isolate=False)
    data = json.loads(result.artifact.sidecar.read_text())
    assert data["sha256"] == result.artifact.sha256
    assert data["verification"]["status"] == "passed"
    json.dumps(result.to_json())


def test_tools_answer_with_code_and_words(tmp_path):
    said = worker.run_tool(["sh", "-c", "pwd; echo wrong >&2; exit 3"], tmp_path)
    assert (said.code, said.output) == (3, f"{tmp_path}\nwrong\n")
    with pytest.raises(ConversionError, match=r"sleep did not finish within 0\.2 s"):
        worker.run_tool(["sleep", "9"], tmp_path, timeout=0.2)
    with pytest.raises(ConversionError, match="no-such-tool cannot be started"):
        worker.run_tool(["no-such-tool"], tmp_path)
