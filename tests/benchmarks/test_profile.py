"""Seconds per operator of a TFLite model, and the layers that the operators are of."""

import importlib.metadata
from pathlib import Path

import pytest

from edgekit import device_agent
from tests.benchmarks.conftest import events

INT8 = Path(__file__).parents[1] / "devices" / "models" / "int8.tflite"
OPERATOR, DELEGATED = device_agent.OPERATOR, device_agent.DELEGATED
known = pytest.mark.skipif(
    not importlib.metadata.version("ai-edge-litert").startswith(device_agent.PROFILED),
    reason="the profiler of another LiteRT is not known",
)


def operator(name, inputs, outputs):
    return {"op_name": name, "inputs": inputs, "outputs": outputs}


# x -> PAD -> CONV_2D -> ADD_N -> CONV_2D -> RESHAPE, of which ADD_N is TFLite's own.
OPERATORS = [
    operator("PAD", [0], [1]),
    operator("CONV_2D", [1], [2]),
    operator("ADD_N", [2], [3]),
    operator("CONV_2D", [3], [4]),
    operator("RESHAPE", [4], [5]),
    operator("DELEGATE", [0], [2]),
    operator("DELEGATE", [3], [5]),
]
NAMES = {n: f"net.Net/torch.nn.modules.conv.Conv2d_layer{n};" for n in range(6)}


def ran(part, us, extra=0):
    """Return the events of one run: the padding is fused into the convolution."""
    gemm = "Fully Connected (NC, F32) GEMM"
    return [
        (DELEGATED, "Convolution (NHWC, F32) IGEMM", 0, 0, us),
        (OPERATOR, "ADD_N", 2, 0, 1),
        *[(DELEGATED, "Transpose (ND, X32)", 0, 0, 7)] * extra,  # the delegate's own
        (DELEGATED, gemm, extra, 0, 2 * us),
        (DELEGATED, "Static Reshape (NC)", extra + 1, 0, 0),
    ]


@pytest.mark.parametrize("extra", [0, 1])
def test_a_delegates_operators_are_found_by_order_and_kind(extra):
    runs = [ran(0, us, extra) for us in (30, 10, 20)]
    nodes = device_agent.operator_times(runs, OPERATORS, NAMES)
    own = [("Transpose (ND, X32)", None, "delegate", 7e-6)] * extra
    assert [(n["op"], n["layer"], n["on"], n["seconds"]) for n in nodes] == [
        ("CONV_2D", "layer2", "delegate", pytest.approx(20e-6)),
        ("ADD_N", "layer3", "cpu", pytest.approx(1e-6)),
        *own,
        ("CONV_2D", "layer4", "delegate", pytest.approx(40e-6)),
        ("RESHAPE", "layer5", "delegate", 0.0),
    ]
    assert {n["count"] for n in nodes} == {1}


def test_partitions_that_ran_in_a_loop_have_no_layer():
    events = ran(0, 10) + ran(0, 10)[:1]
    nodes = device_agent.operator_times([events], OPERATORS, NAMES)
    delegated = [n for n in nodes if n["on"] == "delegate"]
    assert {n["layer"] for n in delegated} == {None}
    assert nodes[0]["count"] == 2
    assert nodes[0]["seconds"] == pytest.approx(20e-6)


@known
def test_a_real_model_is_profiled(job, agent):
    code, lines = agent(job("tflite", profile=3))
    assert code == 0
    (found,) = events(lines, "profile")
    assert found["runs"] == 3
    assert {node["op"] for node in found["nodes"]} >= {"ADD", "MUL"}
    assert all(node["seconds"] >= 0 and node["count"] == 1 for node in found["nodes"])


@known
def test_operators_and_their_sum_are_the_whole_models():
    runs = device_agent.litert_events(str(INT8), 1, 5)
    assert len({tuple(each[:4] for each in events) for events in runs}) == 1
    assert len(runs[0]) >= 3


def test_other_versions_and_libraries_are_not_guessed_at(monkeypatch, tmp_path):
    monkeypatch.setattr(device_agent, "version_of", lambda _names: "2.4.0")
    assert "LiteRT 2.3.x is known, not that of 2.4.0" in device_agent.litert_events("m", 1, 1)
    import ctypes.util

    call = device_agent.Calls(ctypes.util.find_library("c"))
    with pytest.raises(LookupError, match="it has no LiteRtNothing"):
        call("LiteRtNothing")


@known
def test_a_missing_file_is_a_reason():
    said = device_agent.litert_events("/there/is/none.tflite", 1, 1)
    assert "LiteRtCreateModelFromFile returned" in said
