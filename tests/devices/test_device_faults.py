"""What goes wrong in a run on a device, for real: clear errors, data stay, nothing is left."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit import provisioning, transports
from edgekit.benchmarks import Request, job_of, remote
from edgekit.benchmarks.record import read_record
from edgekit.errors import BenchmarkError, DeviceError, LinkLostError, UnavailableError
from edgekit.transports import _session
from tests.devices.conftest import becomes_clean, seen_on

pytestmark = pytest.mark.boards

TFLITE = Path(__file__).parents[1] / "contracts" / "models" / "affine.tflite"
ENDLESS = Path(__file__).parent / "models" / "endless.tflite"  # the body of its loop is itself


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """A device that is silent for 10 s is given up, and waited for 5 s."""
    for name, value in {"BEAT": 0.5, "DEAD": 10.0, "GRACE": 5.0, "_SHORT": 20.0}.items():
        monkeypatch.setattr(_session, name, value)


@pytest.fixture(params=["pi", "phone"])
def booted(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def handset(phone, runner):
    """The phone with the native runner: no Python has to start, so a run takes a second."""
    return replace(phone.device, runner=str(runner))


def cut_at(booted, link, method, monkeypatch):
    """Pull the cable when a method of a link is called; it stays out."""
    real = getattr(link, method)

    def cutting(*arguments):
        booted.cable("down")
        return real(*arguments)

    monkeypatch.setattr(link, method, cutting)


def test_cable_is_out_when_it_connects(booted):
    transports.connect(booted.device).close()
    booted.cable("down")
    try:
        with pytest.raises(DeviceError, match=r"cannot be reached|did not answer|is attached|offl"):
            transports.connect(booted.device)
    finally:
        booted.cable("up")
    assert becomes_clean(booted)


def test_cable_is_pulled_while_a_runtime_is_brought(pi, monkeypatch):
    with transports.connect(pi.device) as connection:
        cut_at(pi, connection._link, "send", monkeypatch)
        try:
            with pytest.raises(LinkLostError, match=r"\.whl was sent|could not be made again"):
                provisioning.environment(connection, pi.device, "tflite-runtime")
        finally:
            pi.cable("up")
    assert becomes_clean(pi)


def test_cable_is_pulled_while_a_file_is_fetched(booted, tmp_path, monkeypatch):
    with transports.connect(booted.device) as connection:
        made = 'head -c 3000000 /dev/zero > "$0/big"'
        connection.run(["sh", "-c", made, str(connection.workspace)], timeout=60)
        cut_at(booted, connection._link, "fetch", monkeypatch)
        try:
            with pytest.raises(LinkLostError, match="while big was fetched"):
                connection.pull("big", tmp_path / "big")
        finally:
            booted.cable("up")
    assert list(tmp_path.iterdir()) == []
    assert becomes_clean(booted)


def while_it_measures(bench, act, output, runs=2000):
    """Measure, and do something when the first samples have arrived."""
    job = job_of(TFLITE, Request(runs=runs, warmup_seconds=0.0), bench.runtime)
    job = replace(job, max_samples=10**6)
    plain, seen = bench.connection.run, threading.Event()

    def run(argv, *, on_line=None, **others):
        def listen(line):
            on_line(line)
            if '"latency"' in line and not seen.is_set():
                seen.set()
                threading.Thread(target=act).start()

        return plain(argv, on_line=on_line and listen, **others)

    bench.connection.run = run
    return remote.measure(bench, TFLITE, job, timeout=300, output=output)


def test_cable_is_pulled_while_it_measures(phone, handset, tmp_path):
    output = tmp_path / "record.json"
    with remote.bench(handset, "tflite", None) as bench:
        try:
            with pytest.raises(LinkLostError, match="while it ran edgekit_runner") as caught:
                while_it_measures(bench, lambda: phone.cable("down"), output, 10**6)
        finally:
            phone.cable("up")
    journal = output.with_suffix(".jsonl")
    assert str(journal) in caught.value.hint
    kept = read_record(journal)
    assert kept.error["reason"] == "link_lost"
    assert kept.samples_s
    assert becomes_clean(phone)
    with remote.bench(handset, "tflite", None) as bench:
        more = Request(runs=len(kept.samples_s) + 5, warmup_seconds=0.0)
        job = replace(job_of(TFLITE, more, bench.runtime), max_samples=10**6)
        whole = remote.measure(bench, TFLITE, job, timeout=300, output=output, resume=True)
    assert whole.error is None
    assert whole.samples_s[: len(kept.samples_s)] == kept.samples_s
    assert len(whole.samples_s) >= len(kept.samples_s) + 5


def test_the_runner_is_killed(phone, handset, tmp_path):
    output = tmp_path / "record.json"
    kill = (
        "for each in /proc/[0-9]*; do grep -q 'edgekit_runne[r]' $each/cmdline 2>/dev/null "
        "&& kill -s KILL ${each##*/} 2>/dev/null; done; true"
    )

    def act():
        with transports.connect(phone.device) as other:
            other.run(["sh", "-c", kill], timeout=60)

    with (
        remote.bench(handset, "tflite", None) as bench,
        pytest.raises(BenchmarkError, match="was killed") as caught,
    ):
        while_it_measures(bench, act, output, 10**6)
    assert "What had arrived is kept" in caught.value.hint
    assert read_record(output.with_suffix(".jsonl")).samples_s
    assert becomes_clean(phone)


def test_a_model_that_crashes_the_runtime(phone, handset):
    with remote.bench(handset, "tflite", None) as bench:
        job = job_of(ENDLESS, Request(runs=2), bench.runtime)
        with pytest.raises(BenchmarkError, match=r"crashed \(SIGSEGV\)"):
            remote.measure(bench, ENDLESS, job, timeout=300)
        sound = job_of(TFLITE, Request(runs=2), bench.runtime)  # the device is still of use
        assert len(remote.measure(bench, TFLITE, sound, timeout=300).samples_s) == 2
    assert seen_on(phone) == ([], [])


def test_a_runtime_that_is_not_there(pi, handset, runner, tmp_path):
    missing = pytest.raises(UnavailableError, match="has no ai-edge-litert")
    with missing as caught, remote.bench(pi.device, "tflite", "litert"):
        pass
    assert "--provision" in caught.value.hint
    (tmp_path / "edgekit_runner").write_bytes((runner / "edgekit_runner").read_bytes())
    bare = replace(handset, runner=str(tmp_path))
    missing = pytest.raises(UnavailableError, match="has no onnxruntime")
    with missing as caught, remote.bench(bare, "onnx", None):
        pass
    assert "Put libonnxruntime.so for the device into" in caught.value.hint
    assert seen_on(pi) == ([], [])


def test_a_vendors_tool_is_driven_on_a_device(phone, tmp_path):
    tool = tmp_path / "it's a tool"
    said = Path(__file__).parent / "tools" / "benchmark_model.txt"
    tool.write_text(f"#!/bin/sh\ncat << 'END'\n{said.read_text()}END\n")
    from edgekit.benchmarks import vendor

    job = job_of(TFLITE, Request(), "tool")
    found = vendor.measure(TFLITE, job, f"benchmark_model={tool}", phone.device, timeout=60)
    assert found.reported["count"] == 195
    assert found.to_json()["median_s"] is None  # an emulator's
    with pytest.raises(UnavailableError, match="no program benchmark_model on device"):
        vendor.measure(TFLITE, job, "benchmark_model", phone.device, timeout=60)
    assert seen_on(phone) == ([], [])
