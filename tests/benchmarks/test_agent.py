"""The agent: what it answers to a job, in a process of its own, in real runtimes."""

import ast
import json
import math
import subprocess
import sys

import numpy as np
import pytest

from edgekit import device_agent
from edgekit.benchmarks.job import Warmup
from edgekit.formats._tflite_file import name_by_layer
from tests.benchmarks.conftest import AGENT, events

FORMATS = ["onnx", "tflite"]


def test_the_agent_is_python_3_9_and_imports_the_standard_library_only():
    tree = ast.parse(AGENT.read_text(), feature_version=(3, 9))
    names = {
        each.name.partition(".")[0]
        if isinstance(node, ast.Import)
        else node.module.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for each in node.names
    }
    assert names <= {*sys.stdlib_module_names}


def test_facts_are_one_line():
    command = [sys.executable, str(AGENT), "facts"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (line,) = map(json.loads, done.stdout.splitlines())
    assert line["event"] == "facts"
    assert line["runtimes"]["onnxruntime"]["installed"] is True
    assert line["runtimes"]["tensorflow"].keys() in (
        {"installed", "hint"},
        {"installed", "version"},
    )
    assert 0 < line["clock"]["resolution_s"] < 1e-3


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_run_says_everything_in_order(job, agent_process, format_name):
    code, lines = agent_process(job(format_name, outputs_folder="outs", profile=2))
    assert code == 0
    told = " ".join(x["event"] for x in lines if x["event"] not in ("samples", "state"))
    assert told == "facts load first outputs placement warmup profile done"
    assert {line["run_id"] for line in lines} == {"test"}
    samples = [x for line in events(lines, "samples", series="latency") for x in line["seconds"]]
    assert len(samples) == 5
    assert all(0 < x < 1 for x in samples)
    for series in ("copy_in", "copy_out", "with_copies"):
        (found,) = events(lines, "samples", series=series)
        assert len(found["seconds"]) == 2
    assert [line["when"] for line in events(lines, "state")] == [
        "before",
        "during",
        "during",
        "after",
    ]
    (load,) = events(lines, "load")
    assert load["stages"]["import"] > 0
    assert load["peak_rss_bytes"] > 1e6


@pytest.mark.parametrize("format_name", FORMATS)
def test_outputs_are_those_of_the_inputs(job, agent, format_name, tmp_path):
    from edgekit.runtimes import open_session
    from tests.benchmarks.conftest import MODELS

    made = job(format_name, outputs_folder="outs", runs=1, copies=0)
    code, _ = agent(made)
    assert code == 0
    feeds = {
        each["name"]: device_agent.seeded(each["seed"], each["shape"], each["dtype"])
        for each in made.inputs
    }
    with open_session(MODELS / f"affine.{format_name}", format_name) as session:
        expected = session.run(feeds)
    for number, entry in enumerate(made.outputs):
        np.testing.assert_array_equal(
            np.load(tmp_path / f"outs/out{number}.npy"), expected[entry["name"]]
        )
        assert np.abs(expected[entry["name"]]).max() > 0


def test_inputs_come_from_files_too(job, agent, tmp_path):
    made = job(outputs_folder="outs", runs=1, copies=0)
    given = np.linspace(-1, 1, math.prod(made.inputs[0]["shape"])).astype(made.inputs[0]["dtype"])
    given = given.reshape(made.inputs[0]["shape"])
    np.save(tmp_path / "given.npy", given)
    given.tofile(tmp_path / "given.raw")
    found = []
    for name in ("given.npy", "given.raw"):
        data = made.to_json()
        data["inputs"] = [{**made.inputs[0], "file": name}, *made.inputs[1:]]
        assert agent(data)[0] == 0
        found.append(np.load(tmp_path / "outs/out0.npy"))
    np.testing.assert_array_equal(*found)
    agent(made)
    assert not np.array_equal(found[0], np.load(tmp_path / "outs/out0.npy"))


@pytest.mark.parametrize(
    ("change", "reason", "said"),
    [
        ({"model": "absent.onnx"}, "model_missing", "absent.onnx"),
        ({"sorcery": 1}, "unsupported_job", "unknown sorcery"),
        ({"schema_version": 99}, "unsupported_job", "cannot take the job"),
        ({"providers": ["NoSuchProvider"]}, "provider_missing", "NoSuchProvider"),
        ({"scenario": {"name": "multi-verse"}}, "unsupported_job", "multi-verse"),
        ({"model": str(AGENT)}, "load_failed", ""),
    ],
)
def test_what_cannot_be_done_is_one_error_with_a_reason(job, agent, change, reason, said):
    code, lines = agent({**job().to_json(), **change})
    assert code == 1
    assert lines[-1]["event"] == "error"
    assert lines[-1]["reason"] == reason
    assert said in lines[-1]["message"]
    assert "\n" not in lines[-1]["message"]


def test_warming_up_ends_at_the_steady_state():
    falling = [1.0 / (1 + n) for n in range(20)]
    assert not any(device_agent.steady(falling[:n]) for n in range(20))
    assert device_agent.steady([*falling[:4], *[0.5] * 8])
    noise = np.random.default_rng(0).normal(1.0, 0.05, (200, 8))
    assert np.mean([device_agent.steady(list(row)) for row in noise]) > 0.6
    trend = noise + np.linspace(0.5, 0, 8)
    assert np.mean([device_agent.steady(list(row)) for row in trend]) < 0.02


def test_samples_last_long_enough_for_the_clock_and_are_not_too_many():
    step = device_agent.resolution()
    assert device_agent.batch_for(1.0, 10.0, 1000) == 1
    assert device_agent.batch_for(10 * step, 0.0, 1000) == 50
    assert device_agent.batch_for(1e-3, 600.0, 1000) == 600


def test_an_unsteady_warm_up_says_so(job, agent):
    _, lines = agent(job(warmup=Warmup(0.0, 0.001, 1)))
    (line,) = events(lines, "warmup")
    assert line["steady"] is False
    assert line["why"] == "not steady within 0.001 s"


def test_seeded_values_are_the_generators_own():
    # splitmix64 from state 0: the first two outputs are well known.
    bits = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]
    floats = device_agent.seeded(0, [2], "float32")
    np.testing.assert_allclose(floats, [(b >> 40) / 2**23 - 1 for b in bits], rtol=1e-6)
    assert device_agent.seeded(0, [2], "int64").tolist() == [b & 1 for b in bits]
    assert device_agent.seeded(1, [2], "float32").tolist() != floats.tolist()


def test_cold_starts_are_new_processes(job, agent):
    code, lines = agent(job("tflite", cold=2, runs=1, copies=0))
    assert code == 0
    total = events(lines, "samples", series="cold_total")
    assert len(total) == 2
    loads = [line for line in events(lines, "load") if "cold" in line]
    assert [line["cold"] for line in loads] == [0, 1]
    assert all(t["seconds"][0] > line["seconds"] for t, line in zip(total, loads, strict=True))


def test_operators_are_told_from_those_that_a_delegate_took():
    def operator(number, name, takes, gives):
        return {"index": number, "op_name": name, "inputs": takes, "outputs": gives}

    operators = [
        operator(0, "CONV_2D", [0, 1], [2]),
        operator(1, "RELU", [2], [3]),
        operator(2, "TOPK_V2", [3], [4]),
        operator(3, "ADD", [4, 0], [5]),
        operator(4, "DELEGATE", [0, 1], [3]),
        operator(5, "DELEGATE", [4, 0], [5]),
    ]
    nodes = device_agent.delegated(operators)
    assert [node["on"] for node in nodes] == ["delegate", "delegate", "cpu", "delegate"]
    assert [node["tensor"] for node in nodes] == [2, 3, 4, 5]
    assert "reason" in nodes[2]
    assert "reason" not in nodes[0]
    assert device_agent.partitions(operators) == 2


def test_a_tensors_name_tells_its_layer():
    scope = "edgekit.border.Border/kws.Spotter_model/torch.nn.modules.container.Sequential_blocks"
    fused = f"{scope}/torch.nn.modules.conv.Conv2d_0;;{scope}/torch.nn.modules.activation.ReLU_1;"
    assert name_by_layer(fused) == "model/blocks/0;;model/blocks/1;"
    assert device_agent.layer_of(name_by_layer(fused)) == "blocks.0"
    assert device_agent.layer_of("net.Net/torch.nn.modules.linear.Linear_head;1") == "head"
    assert device_agent.layer_of("serving_default_x") is None


def test_rivals_take_turns(job, agent):
    rival = job("tflite", turns=True).to_json()
    both = {"schema_version": 1, "run_id": "duel", "rivals": [rival, rival], "rounds": 3}
    code, lines = agent({**both, "turn_s": 0.002, "pairs": 2})
    assert code == 0
    turns = [(x["pair"], x["session"], x["side"]) for x in events(lines, "samples")]
    once = [(0, 0, 0), (0, 0, 1), (0, 1, 1), (0, 1, 0), (0, 2, 0), (0, 2, 1)]
    assert turns == [*once, *((1, session + 3, side) for _, session, side in once)]
    assert events(lines, "done")[-1].keys() == {"event", "run_id", "wall_s"}
