"""Vela: what the NPU takes and what falls back, with reasons; an estimate is never a measurement.

``models/int8.tflite`` is a small network that edgekit made with recipe int8.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgekit.benchmarks import benchmark_file
from edgekit.benchmarks.demands import require_accelerated
from edgekit.benchmarks.record import read_record
from edgekit.cli import cli, main
from edgekit.compilers.vela import _REASON, _short
from edgekit.errors import ConversionError, UsageError, VerdictError

pytest.importorskip("ethosu")
INT8 = Path(__file__).parent / "models" / "int8.tflite"
FLOAT = Path(__file__).parents[1] / "contracts" / "models" / "affine.tflite"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    output = tmp_path_factory.mktemp("vela") / "record.json"
    return benchmark_file(INT8, target="ethos-u55-128", output=output), output


def test_operations_are_placed_and_the_estimate_is_vela_s(made):
    record, output = made
    nodes = record.placement["nodes"]
    taken = [node for node in nodes if node["on"] == "NPU"]
    assert taken
    assert all(node["cycles"] >= 0 and "reason" not in node for node in taken)
    assert sum(node["cycles"] for node in taken) > 0
    left = [node for node in nodes if node["on"] == "CPU"]
    assert all(node["reason"] != "Vela gives no reason" for node in left), left
    assert record.estimate["latency_s"] > 0
    assert record.estimate["sram_bytes"] > 0
    assert record.estimate["clock_hz"] == 500e6
    assert "CPU" in record.estimate["leaves_out"]
    assert read_record(output).estimate == record.estimate
    compiled = output.with_suffix(".ethos-u55-128.tflite").read_bytes()
    assert compiled[4:8] == b"TFL3"
    assert b"ethos-u" in compiled


def test_an_estimate_is_no_measurement(made):
    record, _ = made
    data = record.to_json()
    assert data["samples_s"] == ()
    assert data["median_s"] is None
    assert data["verdict"]["status"] == "not_run"


def test_float_models_stay_on_the_cpu_and_require_npu_says_so(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["benchmark", str(FLOAT), "--target", "ethos-u55-128", "--require", "npu"])
    assert caught.value.code == 3
    said = capsys.readouterr()
    assert "estimate, not measured" in said.out
    assert "leaves out operators that run on the CPU" in said.err
    assert "fell back to the CPU" in said.err
    assert "unsupported DataType Float32" in said.err


def test_other_formats_and_damaged_files_are_errors(tmp_path):
    with pytest.raises(UsageError, match="vela compiles tflite, not onnx"):
        benchmark_file(FLOAT.with_suffix(".onnx"), target="ethos-u55-128")
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(INT8.read_bytes()[:3000])
    with pytest.raises(ConversionError):
        benchmark_file(broken, target="ethos-u55-128")


def test_json_has_it_all():
    run = CliRunner().invoke(cli, ["benchmark", str(INT8), "--target", "ethos-u55-128", "--json"])
    data = json.loads(run.stdout)
    assert data["estimate"]["cycles"] > 0
    assert data["target"]["name"] == "ethos-u55-128"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"placement": {"nodes": [{"name": "0", "op": "CONV", "on": "NPU"}]}}, None),
        (
            {"placement": {"nodes": [{"name": "0", "op": "X", "on": "CPU", "reason": "r"}]}},
            "1 of 1",
        ),
        ({"placement": {"not_run": "nobody knows"}}, "nobody knows"),
        ({"placement": None}, "not known where"),
        ({"estimate": None}, "no delegate and no execution provider"),
        ({"estimate": None, "job": {"providers": ["CPUExecutionProvider"]}}, "no delegate and"),
    ],
)
def test_demands(made, change, said):
    record = replace(made[0], **change)
    if said is None:
        require_accelerated([record])
        return
    with pytest.raises(VerdictError, match=said):
        require_accelerated([record])


def test_reasons_are_read_without_tensors_names():
    text = (
        "Warning (supported operators) operator: MEAN, ofm: 'a;1'\n"
        "Reason: Unsupported reduction (x/(y);2)\nOnly if small\n\n"
        "Warning (supported operators) operator: QUANTIZE, ofm: 'b'\nReason: Unsupported opType\n"
        "Warning (supported operators) operator: PAD, ofm: 'c'\nReason: No\n"
    )
    found = [
        (each["name"], _short(each["reason"], each["rule"])) for each in _REASON.finditer(text)
    ]
    assert found == [
        ("a;1", "Unsupported reduction: Only if small"),
        ("b", "Unsupported opType"),
        ("c", "No"),
    ]
