"""The layers that nodes of ONNX files are of."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import helper

from edgekit.benchmarks import Request, benchmark_file, layers
from edgekit.reports import benchmarks as report
from edgekit.wire.onnx import Node, read_nodes


@pytest.fixture
def model(tmp_path):
    """Return a file as edgekit's exporter names things: a linear layer, then an activation."""
    weight = onnx.numpy_helper.from_array(np.eye(4, dtype=np.float32), "model.blocks.0.weight")
    ends = [helper.make_tensor_value_info(name, 1, [1, 4]) for name in ("x", "y")]
    nodes = [
        helper.make_node("MatMul", ["x", weight.name], ["product"], "node_linear"),
        helper.make_node("Erf", ["product"], ["y"], "node_erf"),
    ]
    graph = helper.make_graph(nodes, "main", ends[:1], ends[1:], [weight])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = tmp_path / "m.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def test_weights_name_the_layer_and_others_come_after_one(model):
    assert read_nodes(model)[0].weights == ("model.blocks.0.weight",)
    assert layers.layers(read_nodes(model)) == {
        "node_linear": {"layer": "blocks.0"},
        "product": {"layer": "blocks.0"},
        "node_erf": {"after": "blocks.0"},
        "y": {"after": "blocks.0"},
    }


def test_names_of_others_are_left_as_they_are():
    nodes = [
        Node("a", ("x",), ("b",), ("model.0.weight", "head.weight")),
        Node("c", ("b",), ("d",), ("scale",)),
        Node("", ("z",), ("w",), ()),
    ]
    found = layers.layers(nodes)
    assert found["a"] == {"layer": "model.0"}
    assert found["c"] == {"after": "model.0"}
    assert "w" not in found


def test_a_fallback_says_which_layer_it_is(model, capsys):
    record = benchmark_file(model, Request(runs=2, warmup_seconds=0.0, profile=1))
    told = {node["name"]: node for node in record.placement["nodes"]}
    assert told["node_linear"]["layer"] == "blocks.0"
    assert told["node_erf"]["after"] == "blocks.0"
    assert {node.get("layer") for node in record.profile["nodes"]} >= {"blocks.0"}
    back = [{**node, "reason": "X did not take it"} for node in record.placement["nodes"]]
    from edgekit.cli import _options

    report.explain([replace(record, placement={"nodes": back})], _options.err())
    said = capsys.readouterr().err
    assert "2 of 2 nodes fell back" in said
    assert "(X did not take it); blocks.0, after blocks.0" in said
