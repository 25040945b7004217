"""Runs on a device that is this machine: the real agent and runtime, over the real protocol."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import edgekit
from edgekit import transports
from edgekit.benchmarks import Request, benchmark_file, remote
from edgekit.benchmarks.record import read_record
from edgekit.errors import (
    DeviceBusyError,
    EdgekitError,
    LinkLostError,
    UnavailableError,
    UsageError,
)
from edgekit.reports import benchmarks as report

MODELS = Path(__file__).parents[1] / "contracts" / "models"
MODEL = next(iter(sorted(MODELS.glob("*.tflite"))))
QUICK = Request(runs=5, warmup_seconds=0.0)

pytestmark = pytest.mark.usefixtures("elsewhere")


def left(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_record_is_whole_and_nothing_is_left(elsewhere, tmp_path):
    output = tmp_path / "record.json"
    record = benchmark_file(MODEL, QUICK, device="local", output=output)
    assert len(record.samples_s) == 5
    assert record.error is None
    assert record.done is not None
    assert record.target["device"] == "local"
    assert record.target["emulated"] is False
    assert record.job["model"] == MODEL.name
    assert read_record(output).samples_s == record.samples_s
    assert left(elsewhere) == []
    assert not list(tmp_path.glob("*.jsonl"))


def test_hostile_names_change_nothing(elsewhere, tmp_path):
    name = "it's $(touch pwned) `x` \x1b[2J\n.tflite"
    path = tmp_path / name
    path.write_bytes(MODEL.read_bytes())
    (tmp_path / "edgekit.toml").write_text(
        '[devices."d\'$(touch pwned)"]\n'
        f'transport = "local"\npython = "{sys.executable}"\nfolder = "{elsewhere}"\n'
    )
    record = benchmark_file(path, QUICK, device="d'$(touch pwned)")
    assert len(record.samples_s) == 5
    assert not list(tmp_path.rglob("pwned"))
    assert left(elsewhere) == []


def test_targets_defaults_hold_where_nothing_is_said(tmp_path):
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets/desk.toml").write_text(
        'description = "Mine."\nkind = "computer"\n[defaults]\nformat = "tflite"\nrecipe = "fp32"\n'
        'runtime = "litert"\nthreads = 2\ndelegate = "none"\nsource = "taste"\n'
    )
    (tmp_path / "edgekit.toml").write_text(
        f'[devices.here]\ntransport = "local"\ntarget = "desk"\npython = "{sys.executable}"\n'
    )
    record = benchmark_file(MODEL, QUICK, target="desk")
    assert (record.threads, record.job["delegate"]) == (2, "none")
    assert record.target["name"] == "desk"
    one = benchmark_file(MODEL, replace(QUICK, threads=1), device="here")
    assert (one.threads, one.job["delegate"]) == (1, "none")
    with pytest.raises(UsageError, match=r"No device in edgekit\.toml is a pixel-8"):
        benchmark_file(MODEL, QUICK, target="pixel-8")


def test_missing_runtime_and_python_are_named(elsewhere, tmp_path):
    bare = tmp_path / "bare"  # a Python that sees no packages
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E "$@"\n')
    bare.chmod(0o755)
    for python, said in ((str(bare), "has no onnxruntime"), ("/no/python", "has no /no/python")):
        (tmp_path / "edgekit.toml").write_text(
            f'[devices.here]\ntransport = "local"\npython = "{python}"\n'
        )
        model = next(iter(sorted(MODELS.glob("*.onnx"))))
        with pytest.raises(UnavailableError, match=said) as caught:
            benchmark_file(model, QUICK, device="here")
        assert caught.value.hint
        assert left(elsewhere) == []


def test_busy_device_names_its_holder(elsewhere):
    from edgekit.devices import load_device

    with transports.connect(load_device("local")) as connection:
        connection.lock("anna@desk, process 7")
        with pytest.raises(DeviceBusyError, match="anna@desk, process 7"):
            benchmark_file(MODEL, QUICK, device="local")


def test_model_that_kills_its_runner_is_an_error(elsewhere, tmp_path):
    crashing = tmp_path / "python"
    crashing.write_text(
        f'#!/bin/sh\ncase "$*" in *"agent.py run"*) echo last words >&2; kill -s SEGV $$;; esac\n'
        f'exec {sys.executable} "$@"\n'
    )
    crashing.chmod(0o755)
    (tmp_path / "edgekit.toml").write_text(
        f'[devices.here]\ntransport = "local"\npython = "{crashing}"\n'
    )
    with pytest.raises(EdgekitError, match=r"crashed \(SIGSEGV\)"):
        benchmark_file(MODEL, QUICK, device="here")
    assert left(elsewhere) == []


def test_lost_link_keeps_what_arrived_and_resume_takes_the_rest(elsewhere, tmp_path, monkeypatch):
    output = tmp_path / "record.json"
    asked = Request(runs=40, min_seconds=0.0, warmup_seconds=0.0)
    real = remote.transports.connect

    def breaking(device):
        connection = real(device)
        run = connection.run

        def cut(argv, *, timeout, on_line=None, env=None):
            def listen(line):
                on_line(line)
                if '"series": "latency"' in line:
                    raise LinkLostError("The connection was lost while it ran python.")

            return run(argv, timeout=timeout, on_line=on_line and listen, env=env)

        connection.run = cut
        return connection

    monkeypatch.setattr(remote.transports, "connect", breaking)
    with pytest.raises(LinkLostError) as caught:
        benchmark_file(MODEL, asked, device="local", output=output)
    journal = output.with_suffix(".jsonl")
    assert str(journal) in caught.value.hint
    kept = read_record(journal)
    assert kept.error["reason"] == "link_lost"
    assert kept.samples_s
    assert left(elsewhere) == []

    monkeypatch.setattr(remote.transports, "connect", real)
    whole = benchmark_file(MODEL, asked, device="local", output=output, resume=True)
    assert whole.error is None
    assert whole.samples_s[: len(kept.samples_s)] == kept.samples_s
    assert len(whole.samples_s) >= 40
    assert {chunk.get("session") for chunk in whole.chunks} == {0, 1}
    assert not journal.exists()
    assert json.loads(output.read_text())["error"] is None


def test_resume_ignores_another_model(elsewhere, tmp_path):
    output = tmp_path / "record.json"
    output.with_suffix(".jsonl").write_text('{"event": "header", "sha256": "0"}\ntorn')
    record = benchmark_file(MODEL, QUICK, device="local", output=output, resume=True)
    assert len(record.samples_s) == 5


def test_times_of_an_emulator_are_never_shown(elsewhere, tmp_path, capsys):
    (tmp_path / "edgekit.toml").write_text(
        f'[devices.here]\ntransport = "local"\npython = "{sys.executable}"\nemulated = true\n'
    )
    asked = replace(QUICK, cold=1, profile=2)
    record = benchmark_file(MODEL, asked, device="here")
    from edgekit.cli import _options

    report.show([record], _options.out())
    report.explain([record], _options.err(), verbose=True)
    said = capsys.readouterr()
    assert "emulated" in said.out
    for unit in (" ms", " µs", " s\n"):
        assert unit not in said.out + said.err
    data = record.to_json()
    assert data["median_s"] is None
    assert data["verdict"]["status"] == "emulated"
    assert len(data["samples_s"]) == 5


def test_public_verb_reaches_devices(elsewhere):
    record = edgekit.benchmark(MODEL, device="local", runs=3, warmup_seconds=0)
    assert len(record.samples_s) == 3


def test_two_files_take_turns_on_a_device(elsewhere, tmp_path):
    onnx = MODELS / "affine.onnx"
    found = edgekit.compare(
        MODELS / "affine.tflite",
        onnx,
        interleave=True,
        rounds=10,
        turn_seconds=1e-3,
        margin=9.0,
        device="local",
        output=tmp_path / "kept",
    )
    assert found.rounds in (10, 20, 30, 40)
    first, second = (read_record(path) for path in sorted((tmp_path / "kept").iterdir()))
    assert (first.runtime[:6], second.runtime[:4]) == ("LiteRT", "ONNX")
    assert first.target["device"] == "local"
    assert len(first.samples_s) >= 30
    assert left(elsewhere) == []
    (tmp_path / "edgekit.toml").write_text(
        f'[devices.it]\ntransport = "local"\npython = "{sys.executable}"\nemulated = true\n'
        '[devices.bare]\ntransport = "local"\nrunner = "."\n'
    )
    with pytest.raises(UsageError, match="its times say nothing of a device"):
        edgekit.compare(onnx, onnx, interleave=True, device="it")
    with pytest.raises(UsageError, match="native runner starts no processes"):
        edgekit.compare(onnx, onnx, interleave=True, device="bare")
    assert left(elsewhere) == []
