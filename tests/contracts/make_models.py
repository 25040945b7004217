"""Make the tiny models of the runtime contract: the same function in every format.

    affine   (x: float32[2, 3], ids: int32[2]) -> (scaled = x * [1, 2, 4] + 0.5, bumped = ids + 1)
    dynamic  (x: float32[batch, 3]) -> (doubled = x * 2)

The values inside are named ``product`` (x * [1, 2, 4]).  Outputs are not in alphabetical order, and
all constants are powers of two, so that results are exact.  The files are committed, because the
environments of old runtimes cannot make them; run this file to make them anew:

    .venv/bin/python tests/contracts/make_models.py
"""

from pathlib import Path

import numpy as np

MODELS = Path(__file__).parent / "models"
SCALE = np.array([1, 2, 4], np.float32)
HALF = np.array(0.5, np.float32)
ONE = np.array(1, np.int32)
TWO = np.array(2, np.float32)


def make_onnx(folder: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def save(name, nodes, inputs, outputs, constants):
        values = [numpy_helper.from_array(value, key) for key, value in constants.items()]
        inputs, outputs = (
            [helper.make_tensor_value_info(*value) for value in side] for side in (inputs, outputs)
        )
        graph = helper.make_graph(nodes, name, inputs, outputs, values)
        opset = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=8, producer_name="edgekit")
        onnx.checker.check_model(model, full_check=True)
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString())

    float32, int32 = TensorProto.FLOAT, TensorProto.INT32
    save(
        "affine",
        [
            helper.make_node("Mul", ["x", "scale"], ["product"]),
            helper.make_node("Add", ["product", "half"], ["scaled"]),
            helper.make_node("Add", ["ids", "one"], ["bumped"]),
        ],
        [("x", float32, [2, 3]), ("ids", int32, [2])],
        [("scaled", float32, [2, 3]), ("bumped", int32, [2])],
        {"scale": SCALE, "half": HALF, "one": ONE},
    )
    save(
        "dynamic",
        [helper.make_node("Mul", ["x", "two"], ["doubled"])],
        [("x", float32, ["batch", 3])],
        [("doubled", float32, ["batch", 3])],
        {"two": TWO},
    )


class TFLiteGraph:
    """A TFLite model of one subgraph, built with the schema's object API."""

    def __init__(self):
        from ai_edge_litert import schema_py_generated as schema

        self.schema = schema
        self.indices = {}
        self.model = schema.ModelT()
        self.model.version, self.model.description = 3, b"edgekit"
        self.model.buffers, self.model.operatorCodes = [schema.BufferT()], []
        self.model.metadata, self.model.signatureDefs = [], []
        self.graph = schema.SubGraphT()
        self.graph.name = b"main"
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]

    def buffer(self, data):
        entry = self.schema.BufferT()
        entry.data = np.frombuffer(data, np.uint8)
        self.model.buffers.append(entry)
        return len(self.model.buffers) - 1

    def tensor(self, name, kind, shape, value=None):
        tensor = self.schema.TensorT()
        tensor.name, tensor.hasRank = name.encode(), True
        tensor.type = getattr(self.schema.TensorType, kind)
        tensor.shape = [max(size, 1) for size in shape]
        if min(shape, default=1) < 0:
            tensor.shapeSignature = list(shape)
        tensor.buffer = 0 if value is None else self.buffer(value.tobytes())
        self.graph.tensors.append(tensor)
        self.indices[name] = len(self.graph.tensors) - 1

    def op(self, kind, inputs, outputs, options=None, custom=None):
        code = self.schema.OperatorCodeT()
        code.builtinCode = getattr(self.schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version, code.customCode = 1, custom
        self.model.operatorCodes.append(code)
        node = self.schema.OperatorT()
        node.opcodeIndex = len(self.model.operatorCodes) - 1
        node.inputs = [self.indices[name] for name in inputs]
        node.outputs = [self.indices[name] for name in outputs]
        if options:
            node.builtinOptionsType = getattr(self.schema.BuiltinOptions, options)
            node.builtinOptions = getattr(self.schema, f"{options}T")()
        self.graph.operators.append(node)

    def border(self, inputs, outputs):
        self.graph.inputs = [self.indices[name] for name in inputs]
        self.graph.outputs = [self.indices[name] for name in outputs]

    def signature(self, key, inputs, outputs):
        """Add a signature; like a converter, list its entries by alphabet."""
        signature = self.schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = key.encode(), 0
        signature.inputs, signature.outputs = [], []
        for entries, names in ((signature.inputs, inputs), (signature.outputs, outputs)):
            for name, tensor in sorted(names.items()):
                entry = self.schema.TensorMapT()
                entry.name, entry.tensorIndex = name.encode(), self.indices[tensor]
                entries.append(entry)
        self.model.signatureDefs.append(signature)

    def metadata(self, name, data):
        entry = self.schema.MetadataT()
        entry.name, entry.buffer = name.encode(), self.buffer(data)
        self.model.metadata.append(entry)

    def pack(self):
        import flatbuffers

        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())


def affine_tflite():
    graph = TFLiteGraph()
    for name, kind, shape in (
        ("t_x", "FLOAT32", [2, 3]),
        ("t_ids", "INT32", [2]),
        ("product", "FLOAT32", [2, 3]),
        ("t_scaled", "FLOAT32", [2, 3]),
        ("t_bumped", "INT32", [2]),
    ):
        graph.tensor(name, kind, shape)
    graph.tensor("scale", "FLOAT32", [3], SCALE)
    graph.tensor("half", "FLOAT32", [], HALF)
    graph.tensor("one", "INT32", [], ONE)
    graph.op("MUL", ["t_x", "scale"], ["product"], "MulOptions")
    graph.op("ADD", ["product", "half"], ["t_scaled"], "AddOptions")
    graph.op("ADD", ["t_ids", "one"], ["t_bumped"], "AddOptions")
    graph.border(["t_x", "t_ids"], ["t_scaled", "t_bumped"])
    graph.signature(
        "serving_default",
        {"x": "t_x", "ids": "t_ids"},
        {"scaled": "t_scaled", "bumped": "t_bumped"},
    )
    return graph


def dynamic_tflite():
    graph = TFLiteGraph()
    graph.tensor("x", "FLOAT32", [-1, 3])
    graph.tensor("two", "FLOAT32", [], TWO)
    graph.tensor("doubled", "FLOAT32", [-1, 3])
    graph.op("MUL", ["x", "two"], ["doubled"], "MulOptions")
    graph.border(["x"], ["doubled"])
    return graph


def make_tflite(folder: Path) -> None:
    (folder / "affine.tflite").write_bytes(affine_tflite().pack())
    (folder / "dynamic.tflite").write_bytes(dynamic_tflite().pack())


def make_pt2(folder: Path) -> None:
    import torch

    class Affine(torch.nn.Module):
        def forward(self, x, ids):
            return {"scaled": x * torch.tensor(SCALE) + 0.5, "bumped": ids + 1}

    class Dynamic(torch.nn.Module):
        def forward(self, x):
            return {"doubled": x * 2}

    example = torch.ones(2, 3)
    affine = torch.export.export(Affine(), (example, torch.zeros(2, dtype=torch.int32)))
    torch.export.save(affine, folder / "affine.pt2")
    batch = {"x": {0: torch.export.Dim("batch")}}
    dynamic = torch.export.export(Dynamic(), (example,), dynamic_shapes=batch)
    torch.export.save(dynamic, folder / "dynamic.pt2")


def make_coreml(folder: Path) -> None:
    import coremltools as ct
    from coremltools.converters.mil import Builder as mb  # noqa: N813 - its documented name

    target = ct.target.iOS17

    def save(name, program, **options):
        model = ct.convert(
            program,
            minimum_deployment_target=target,
            compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
            **options,
        )
        package = folder / f"{name}.mlpackage"
        model.save(str(package))
        # The manifest lists the folder of weights, which is empty, and git keeps no empty folder.
        (package / "Data/com.apple.CoreML/weights/.gitkeep").touch()

    int32 = ct.converters.mil.mil.types.int32
    signature = [mb.TensorSpec((2, 3)), mb.TensorSpec((2,), int32)]

    @mb.program(input_specs=signature, opset_version=target)
    def affine(x, ids):
        product = mb.mul(x=x, y=SCALE, name="product")
        return mb.add(x=product, y=HALF, name="scaled"), mb.add(x=ids, y=ONE, name="bumped")

    save("affine", affine)

    @mb.program(
        input_specs=[mb.TensorSpec((ct.converters.mil.mil.get_new_symbol(), 3))],
        opset_version=target,
    )
    def dynamic(x):
        return mb.mul(x=x, y=TWO, name="doubled")

    save("dynamic", dynamic, inputs=[ct.TensorType("x", (ct.RangeDim(1, 64), 3))])


if __name__ == "__main__":
    for make in (make_onnx, make_tflite, make_pt2, make_coreml):
        make(MODELS)
