"""The names of steps between float and integer: short, and nobody else's."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from edgekit.formats import _onnx_steps


def test_steps_get_short_names_that_nothing_else_has() -> None:
    scale = numpy_helper.from_array(np.array(0.5, np.float32), "scale")
    zero = numpy_helper.from_array(np.array(128, np.uint8), "zero")
    steps = [
        helper.make_node("QuantizeLinear", ["q0", "scale", "zero"], ["a_long_name"], axis=1),
        helper.make_node("DequantizeLinear", ["a_long_name", "scale", "zero"], ["between"]),
        helper.make_node("Relu", ["between"], ["clamped"]),
        helper.make_node("QuantizeLinear", ["clamped", "scale", "zero"], ["another"]),
        helper.make_node("DequantizeLinear", ["another", "scale", "zero"], ["output"]),
    ]
    (given, result) = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("q0", "output")
    )
    graph = helper.make_graph(steps, "steps", [given], [result], [scale, zero])
    proto = onnx.shape_inference.infer_shapes(
        helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 20)])
    )
    model = ir.serde.deserialize_model(proto)

    _onnx_steps.shorten(model)

    made = ir.serde.serialize_model(model)
    onnx.checker.check_model(made, full_check=True)
    assert [list(node.output) for node in made.graph.node] == [
        ["q1"],
        ["d0"],
        ["clamped"],
        ["q2"],
        ["output"],
    ]
    assert not any(node.attribute for node in made.graph.node)
    told = {value.name for value in made.graph.value_info}
    assert told - {"scale", "zero"} == {"clamped"}
    values = {"q0": np.array([-1, 0.3, 7, 100], np.float32)}
    before, after = (
        onnxruntime.InferenceSession(each.SerializeToString()).run(None, values)[0]
        for each in (proto, made)
    )
    np.testing.assert_array_equal(before, after)
