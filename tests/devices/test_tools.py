"""Vendors' own benchmark programs: what they are asked, and what is read out of their answers."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit import registry
from edgekit.benchmarks import Request, benchmark_file
from edgekit.benchmarks.job import Job, Warmup
from edgekit.benchmarks.record import read_record
from edgekit.errors import BenchmarkError, UnavailableError, UnknownNameError, UsageError
from edgekit.reports import benchmarks as report

MODELS = Path(__file__).parents[1] / "contracts" / "models"
SAID = Path(__file__).parent / "tools"
TFLITE, ONNX = MODELS / "affine.tflite", MODELS / "affine.onnx"
JOB = Job("it's a model", "tflite", "tool", runs=5, min_s=0.5, warmup=Warmup(max_s=0.2))

pytestmark = pytest.mark.usefixtures("elsewhere")


def stand_in(tmp_path, script) -> str:
    """Return the path of a program that writes what the real one would."""
    path = tmp_path / "the tool's $(stand-in)"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_every_tool_keeps_the_contract():
    for module in registry.load_all("tools").values():
        assert module.FORMATS
        assert module.WHERE
        assert set(module.TAKES) <= set(vars(JOB))
        words = module.command("program", JOB, "the result")
        assert words[0] == "program"
        assert any("it's a model" in word for word in words)
        assert module.lines("nothing that it would say", "", JOB) == []


def test_benchmark_models_statistics_become_a_record(tmp_path, elsewhere):
    program = stand_in(tmp_path, f'cat "{SAID}/benchmark_model.txt" >&2; echo "$@" > "$0.asked"')
    output = tmp_path / "record.json"
    request = Request(runs=20, min_seconds=0.5, threads=2, profile=1, delegate="none")
    record = benchmark_file(TFLITE, request, tool=f"benchmark_model={program}", output=output)
    assert record.samples_s == ()
    assert record.load_s == pytest.approx(0.016242)
    assert record.first_s == pytest.approx(0.006021)
    told = record.reported
    assert told["count"] == 195
    assert told["mean_s"] == pytest.approx(5.1249e-3)
    assert told["median_s"] == pytest.approx(5.106e-3)
    assert told["p95_s"] == pytest.approx(5.301e-3)
    assert told["memory_delta_bytes"] == 8.5 * 2**20
    assert "12 of 14 went to TfLiteXNNPackDelegate" in record.placement["not_run"]
    assert [(n["op"], n["layer"], n["seconds"]) for n in record.profile["nodes"]] == [
        ("CONV_2D", "blocks.0", pytest.approx(4.25e-3)),
        ("FULLY_CONNECTED", "head", pytest.approx(0.75e-3)),
    ]
    asked = Path(f"{program}.asked").read_text()
    assert f"--graph={TFLITE}" in asked
    assert "--num_threads=2 --num_runs=20 --min_secs=0.5" in asked
    assert "--use_xnnpack=false --enable_op_profiling=true" in asked
    assert read_record(output).reported == told
    data = json.loads(output.read_text())
    assert data["verdict"]["status"] == "reported"
    assert data["job"]["command"][0] == f"--graph={TFLITE.name}"
    assert data["median_s"] == told["median_s"]
    assert list(elsewhere.iterdir()) == []


def test_litert_build_of_benchmark_model(tmp_path):
    program = stand_in(tmp_path, f'cat "{SAID}/benchmark_model_litert.txt"')
    record = benchmark_file(TFLITE, tool=f"benchmark_model={program}")
    assert record.runtime == "LiteRT benchmark_model"
    assert record.warmup["runs"] == 3
    assert (record.load_s, record.first_s) == (pytest.approx(0.04532), pytest.approx(0.12045))
    assert record.reported == {
        "count": 50,
        "mean_s": pytest.approx(0.08523),
        "min_s": pytest.approx(0.0821),
        "max_s": pytest.approx(0.09245),
        "std_s": pytest.approx(0.00321),
    }
    assert record.to_json()["median_s"] is None


def test_perf_tests_samples_are_all_kept(tmp_path):
    keep = 'for file; do :; done; echo "$@" > "$0.asked"'  # its last argument
    show = f'cp "{SAID}/onnxruntime_perf_test.csv" "$file"; cat "{SAID}/onnxruntime_perf_test.txt"'
    program = stand_in(tmp_path, f"{keep}; {show}")
    request = Request(runs=5, providers=("XnnpackExecutionProvider",))
    record = benchmark_file(ONNX, request, tool=f"onnxruntime_perf_test={program}")
    assert record.samples_s == (0.0051, 0.0052, 0.0049, 0.0057, 0.0051)
    assert record.load_s == 0.217932
    assert record.first_s == 0.007
    assert record.done["peak_rss_bytes"] == 71122432
    asked = Path(f"{program}.asked").read_text()
    assert asked.startswith("-I -e xnnpack -x 1 -y 1 -m times -r 5 ")
    module = registry.load("tools", "onnxruntime_perf_test")
    newer = "model,0.001,0.004,71122432,51,0\n\nMin Latency: 0.004 s\n"
    assert module._samples(newer) == [0.004]
    with pytest.raises(UsageError, match="one execution provider, not 2"):
        module.command("program", replace(JOB, providers=("A", "B")), "result")


def test_litert_benchmark_as_it_comes_with_the_package(tmp_path):
    module = registry.load("tools", "litert_benchmark")
    lines = module.lines("", (SAID / "litert_benchmark.json").read_text(), JOB)
    told = next(line for line in lines if line["event"] == "reported")
    assert told["count"] == 20
    assert told["mean_s"] == pytest.approx(8.56e-3)
    record = benchmark_file(TFLITE, Request(runs=7), tool="LiteRT-Benchmark")
    assert record.reported["count"] == 7
    assert record.reported["min_s"] <= record.reported["mean_s"] <= record.reported["max_s"]
    assert record.machine["cores"]
    assert "not by edgekit's loop" in record.note


def test_core_ml_is_asked_in_a_process_of_its_own(tmp_path, monkeypatch):
    """The classes that it asks are stand-ins of coremltools 9's: Core ML itself needs a Mac."""
    stub = tmp_path / "site/coremltools/models/ml_program/experimental"
    stub.mkdir(parents=True)
    for each in (stub, stub.parent, stub.parents[1], stub.parents[2]):
        (each / "__init__.py").touch()
    (stub.parents[2] / "__init__.py").write_text("from coremltools import models\n")
    (stub.parents[1] / "__init__.py").write_text(
        "class MLModel:\n def __init__(self, path, skip_model_load): self.path = path\n"
    )
    (stub / "perf_utils.py").write_text(
        "from types import SimpleNamespace as N\n"
        "class MLModelBenchmarker:\n"
        " def __init__(self, model, device): assert device is None\n"
        " async def benchmark_load(self, iterations): return N(samples=[12.5])\n"
        " async def benchmark_predict(self, inputs=None, iterations=1, warmup=False):\n"
        "  return N(samples=[2.0 + n for n in range(iterations)])\n"
        " async def benchmark_operation_execution(self, inputs=None, iterations=1, warmup=False):\n"
        "  spec = N(type='conv', outputs=[N(name='y')])\n"
        "  usage = N(preferred_compute_device=Ane())\n"
        "  taken = N(statistics=N(median=1.5), samples=[1.5])\n"
        "  return [N(spec=spec, compute_device_usage=usage, measurement=taken)]\n"
        "class Ane: pass\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    module = registry.load("tools", "coremltools")
    command = module.command(sys.executable, replace(JOB, profile=1), "")
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = {line["event"]: line for line in module.lines(done.stdout, "", JOB)}
    assert lines["load"]["seconds"] == 0.0125
    assert lines["first"]["seconds"] == 0.002
    assert lines["samples"]["seconds"] == [0.002, 0.003, 0.004, 0.005, 0.006]
    (node,) = lines["profile"]["nodes"]
    assert (node["op"], node["on"], node["seconds"]) == ("conv", "Ane", 0.0015)
    (stub / "perf_utils.py").write_text("raise OSError('two\\nlines')\n")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert module.lines(done.stdout, "", JOB)[0]["message"] == "two lines"


@pytest.mark.skipif(sys.platform == "darwin", reason="this is a Mac")
@pytest.mark.parametrize("tool", ["coremltools", "devicectl"])
def test_apples_tools_need_a_mac(tool):
    assert "macOS" in registry.load("tools", tool).unavailable().message


def test_what_a_tool_cannot_do_is_refused(tmp_path):
    with pytest.raises(UnknownNameError) as unknown:
        benchmark_file(TFLITE, tool="benchmark-modl")
    assert unknown.value.hint == "Did you mean 'benchmark_model'?"
    with pytest.raises(UnavailableError, match="no program benchmark_model here") as caught:
        benchmark_file(TFLITE, tool="benchmark_model")
    assert "--tool benchmark_model=PATH" in caught.value.hint
    with pytest.raises(UsageError, match="takes onnx, and"):
        benchmark_file(TFLITE, tool="onnxruntime_perf_test")
    asked = Request(cold=3, scenario="offline")
    with pytest.raises(UsageError, match="cannot be told --scenario, --cold"):
        benchmark_file(TFLITE, asked, tool="litert_benchmark")
    with pytest.raises(UsageError, match="neither provisioned nor resumed"):
        benchmark_file(TFLITE, tool="litert_benchmark", resume=True)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo fine; echo 'ERROR: bad \x1b[31m model' >&2; exit 3", r"with code 3.*bad \\x1b\[31m"),
        ("kill -s SEGV $$", r"crashed \(SIGSEGV\)"),
        ("echo something else", "gave no answer that edgekit knows: something else"),
    ],
)
def test_tools_that_fail_are_errors(tmp_path, elsewhere, script, said):
    with pytest.raises(BenchmarkError, match=said):
        benchmark_file(TFLITE, tool=f"benchmark_model={stand_in(tmp_path, script)}")
    assert list(elsewhere.iterdir()) == []


def test_emulated_devices_show_no_times_of_tools_either(tmp_path, capsys):
    (tmp_path / "edgekit.toml").write_text('[devices.it]\ntransport = "local"\nemulated = true\n')
    program = stand_in(tmp_path, f'cat "{SAID}/benchmark_model.txt"')
    record = benchmark_file(TFLITE, device="it", tool=f"benchmark_model={program}")
    assert record.to_json()["median_s"] is None
    from edgekit.cli import _options

    report.show([record], _options.out())
    report.explain([record], _options.err(), verbose=True)
    said = capsys.readouterr()
    assert "emulated" in said.out
    assert " ms" not in said.out + said.err
