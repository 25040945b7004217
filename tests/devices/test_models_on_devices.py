"""Every sample model on the emulated devices: outputs as on the host, and a whole record."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekit import formats, runtimes
from edgekit.benchmarks import Request, job_of, loop, remote
from edgekit.benchmarks.record import BenchmarkRecord, Journal
from tests.devices.conftest import ROOT, Booted

pytestmark = pytest.mark.boards

SAMPLES = Path(os.environ.get("EDGEKIT_SAMPLES", ROOT / "build" / "samples"))
MODELS = [
    path.stem
    for path in sorted((ROOT / "sample_models").glob("*.py"))
    if "\ndef build(" in path.read_text()
]
FEW = ("digit_classifier", "gesture_gru")  # images and steps; the others are slow
EACH = [pytest.param(name, marks=() if name in FEW else pytest.mark.slow) for name in MODELS]
QUICK = Request(runs=2, warmup_seconds=0.0, settings={"copies": 1})


def sample(name: str, format_name: str) -> Path:
    path = SAMPLES / f"{name}.{format_name}"
    if not path.exists():
        pytest.skip(f"needs {path}: scripts/sample_artifacts.py build/samples onnx tflite")
    return path


@pytest.fixture(scope="module", params=["onnxruntime", "litert", "tflite_runtime"])
def provisioned(request, pi: Booted) -> Iterator[remote.Bench]:
    """The board, with a runtime brought along."""
    format_name = "onnx" if request.param == "onnxruntime" else "tflite"
    board = replace(pi.device, emulated=False)  # it is to be found out
    with remote.bench(board, format_name, request.param, provision=True) as bench:
        yield bench


@pytest.fixture(scope="module", params=["onnx", "tflite"])
def native(request, phone: Booted, runner: Path) -> Iterator[remote.Bench]:
    """The phone, which has no Python, with the native runner."""
    handset = replace(phone.device, runner=str(runner))
    with remote.bench(handset, request.param, None) as bench:
        yield bench


def measured(bench: remote.Bench, path: Path, folder: Path) -> BenchmarkRecord:
    job = replace(job_of(path, QUICK, bench.runtime), outputs_folder=str(folder))
    return remote.measure(bench, path, job, timeout=500, output=folder / "record.json")


def outputs(folder: Path) -> list[np.ndarray]:
    """Return the outputs in a folder; the native runner's have neither type nor shape."""
    return [
        np.load(path) if path.suffix == ".npy" else np.fromfile(path, np.uint8)
        for path in sorted(folder.glob("out*"))
    ]


def on_host(path: Path, folder: Path) -> list[np.ndarray]:
    job = job_of(path, QUICK, runtimes.choose(formats.of_path(path)))
    job = replace(job, outputs_folder=str(folder), copies=0)
    header = {"path": "model", "sha256": "", "job": job.to_json()}
    with Journal(folder / "here.jsonl", header) as journal:
        loop.run_here(job, journal, 300)
    return outputs(folder)


def assert_equal(there: list[np.ndarray], here: list[np.ndarray]) -> None:
    assert len(there) == len(here) > 0
    for found, expected in zip(there, here, strict=True):
        if found.dtype == np.uint8 != expected.dtype:
            found = found.view(expected.dtype).reshape(expected.shape)
        scale = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * scale)


def assert_whole(record: BenchmarkRecord) -> None:
    data = record.to_json()
    assert record.error is None
    assert record.done is not None
    assert len(record.samples_s) == 2
    assert record.load_s > 0
    assert record.first_s > 0
    assert record.emulator == "qemu-user"
    assert (data["median_s"], data["verdict"]["status"]) == (None, "emulated")
    assert data["machine"]["architecture"] == "aarch64"
    assert {state["when"] for state in record.states} >= {"before", "after"}
    assert record.states[0]["temperature_c"] == {"cpu-thermal": pytest.approx(48.312)}
    assert record.states[0]["governor"]
    assert record.placement.get("nodes") or record.placement.get("not_run")
    assert record.target["device"]
    assert record.target["facts"]["architecture"] == "aarch64"
    assert data["job"]["model"] == record.path.name
    assert data["artifact"]["size_bytes"] == (SAMPLES / record.path.name).stat().st_size
    assert record.sha256
    assert record.run_id
    assert record.started_at


@pytest.mark.parametrize("name", EACH)
def test_on_the_board(provisioned, tmp_path, name):
    path = sample(name, "onnx" if provisioned.runtime == "onnxruntime" else "tflite")
    record = measured(provisioned, path, tmp_path)
    assert_whole(record)
    assert set(record.series) >= {"copy_in", "copy_out", "overhead"}
    there = outputs(tmp_path)
    (tmp_path / "host").mkdir()
    assert_equal(there, on_host(path, tmp_path / "host"))


@pytest.mark.parametrize("name", EACH)
def test_on_the_phone(native, tmp_path, name):
    path = sample(name, "onnx" if native.runtime == "onnxruntime" else "tflite")
    record = measured(native, path, tmp_path)
    assert_whole(record)
    assert record.machine["kind"] == "native"
    there = outputs(tmp_path)
    (tmp_path / "host").mkdir()
    assert_equal(there, on_host(path, tmp_path / "host"))
