"""The native runner: built by the C compiler here, against the runtimes' own libraries."""

import json
import shutil
import subprocess
from pathlib import Path

import ai_edge_litert
import numpy as np
import onnxruntime
import pytest

from edgekit.benchmarks.record import build
from tests.benchmarks.conftest import ROOT, events, lines_of

CROSS = "aarch64-linux-gnu-gcc"
pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler here")


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    """Return the runner's path, built as its users build it."""
    path = tmp_path_factory.mktemp("runner") / "edgekit_runner"
    subprocess.run([ROOT / "scripts/build_runner.sh", path], check=True, capture_output=True)
    return path


@pytest.fixture
def native(runner, tmp_path):
    """Return a way to run it on a job: its exit code and its lines."""
    (library,) = Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*")
    environment = {
        "EDGEKIT_ONNXRUNTIME": str(library),
        "EDGEKIT_LITERT": str(Path(ai_edge_litert.__file__).parent / "libLiteRt.so"),
    }

    def run(job, environment=environment, said=None):
        (tmp_path / "job.json").write_text(
            json.dumps(job if isinstance(job, dict) else job.to_json())
        )
        done = subprocess.run(
            [runner, "run", "job.json"],
            cwd=tmp_path,
            env=environment,
            input=said,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, lines_of(done.stdout)

    return run


@pytest.mark.parametrize("format_name", ["onnx", "tflite"])
def test_it_measures_what_the_agent_measures(job, agent, native, tmp_path, format_name):
    made = job(format_name, outputs_folder="outs")
    assert agent(made)[0] == 0
    code, lines = native(made)
    assert code == 0
    for number in range(len(made.outputs)):
        expected = np.load(tmp_path / f"outs/out{number}.npy")
        found = np.fromfile(tmp_path / f"outs/out{number}.raw", expected.dtype)
        np.testing.assert_array_equal(found, expected.ravel())
    told = " ".join(x["event"] for x in lines if x["event"] not in ("samples", "state"))
    assert told == "facts load first outputs placement warmup done"
    header = {"path": "m", "sha256": "", "job": made.to_json()}
    record = build(header, lines)
    assert len(record.samples_s) == 5
    assert record.judged()["validity"]["complete"] is True
    assert record.series["overhead"]
    assert "(C)" in record.runtime
    assert record.done["peak_rss_bytes"] > 1e6


def test_it_takes_inputs_from_files(job, native, tmp_path):
    made = job(outputs_folder="outs").to_json()
    given = np.linspace(-1, 1, 6, dtype=np.float32).reshape(made["inputs"][0]["shape"])
    np.save(tmp_path / "given.npy", given)
    given.tofile(tmp_path / "given.raw")
    found = []
    for name in ("given.npy", "given.raw"):
        made["inputs"] = [{**made["inputs"][0], "file": name}, *made["inputs"][1:]]
        assert native(made)[0] == 0
        found.append((tmp_path / "outs/out0.raw").read_bytes())
    assert found[0] == found[1]
    made["inputs"][0]["shape"] = [200, 3]
    code, lines = native(made)
    assert (code, lines[-1]["reason"]) == (1, "bad_input")


def test_it_takes_turns(job, native):
    turns = "".join(json.dumps({"seconds": 1e-3, "session": n}) + "\n" for n in range(3))
    made = {**job("tflite", turns=True).to_json()}
    code, lines = native(made, said=turns)
    assert code == 0
    assert [line["session"] for line in events(lines, "samples")] == [0, 1, 2]
    assert [line["when"] for line in events(lines, "state")] == ["before", "ready"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": "absent.onnx"}, "model_missing"),
        ({"runtime": "tensorflow"}, "runtime_missing"),
        ({"scenario": {"name": "server"}}, "unsupported_job"),
        ({"schema_version": 99}, "unsupported_job"),
        ({"model": "job.json"}, "load_failed"),
    ],
)
def test_what_it_cannot_do_is_one_error_with_a_reason(job, native, change, reason):
    code, lines = native({**job().to_json(), **change})
    assert code == 1
    assert (lines[-1]["event"], lines[-1]["reason"]) == ("error", reason)


def test_hostile_text_stays_text(job, native):
    evil = 'a"b\\c\n\x1b[31m$(x)'
    code, lines = native({**job("tflite").to_json(), "run_id": evil})
    assert code == 0
    assert {line["run_id"] for line in lines} == {evil}


@pytest.mark.parametrize(
    "text", ["", "{", '{"a": [1, 2', '["x"', "nul", '{"a" 1}', '"\\u12"', "[" * 999]
)
def test_a_damaged_job_is_refused(runner, tmp_path, text):
    (tmp_path / "job.json").write_text(text)
    done = subprocess.run([runner, "run", tmp_path / "job.json"], capture_output=True, check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout)["reason"] == "unsupported_job"


def test_a_missing_library_says_which(job, native):
    code, lines = native(job(), environment={"EDGEKIT_ONNXRUNTIME": "/nowhere/lib.so"})
    assert (code, lines[-1]["reason"]) == (1, "runtime_missing")
    assert "/nowhere/lib.so" in lines[-1]["message"]


@pytest.mark.skipif(shutil.which(CROSS) is None, reason=f"{CROSS} is not installed")
def test_it_builds_for_arm64(tmp_path):
    path = tmp_path / "edgekit_runner"
    environment = {"CC": CROSS, "PATH": "/usr/bin:/bin"}
    subprocess.run([ROOT / "scripts/build_runner.sh", path], check=True, env=environment)
    head = path.read_bytes()[:20]
    assert head[:5] == b"\x7fELF\x02"
    assert int.from_bytes(head[18:20], "little") == 183  # EM_AARCH64
