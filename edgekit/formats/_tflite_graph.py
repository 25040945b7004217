"""A TFLite file as objects: reading, writing, and adding operators to a subgraph."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

NAMES = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
_CODES = {k: v for v, k in NAMES.items()}
_SMALL_CODE = 127  # what the older field for an operator's code can hold
FLOAT, INT, BOOL = (getattr(schema.TensorType, n) for n in ("FLOAT32", "INT32", "BOOL"))


def unpacked(content: bytes) -> Any:
    """Return a file as a ``ModelT``."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    _take_buffers_in(model, content)
    return model


def packed(model: Any) -> bytes:
    """Return a ``ModelT`` as a file."""
    builder = SharingBuilder(2**20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class SharingBuilder(flatbuffers.Builder):  # type: ignore[misc]  # it has no types
    """Writes equal vectors of numbers once: a channel has a zero point of 8 bytes, always zero."""

    def __init__(self, size: int) -> None:
        """Reserve a number of bytes; more are taken as they are needed."""
        super().__init__(size)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: Any) -> int:  # noqa: N802 - the library's name
        """Write an array, or point to an equal one."""
        if x.dtype == np.uint8:  # the content of a buffer, with an alignment of its own
            return int(super().CreateNumpyVector(x))
        key = x.dtype.str, x.tobytes()
        if key not in self._written:
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]


def _take_buffers_in(model: Any, content: bytes) -> None:
    """Move buffers that follow the FlatBuffer into it: older runtimes look for them only there."""
    for buffer in model.buffers:
        if buffer.data is None and buffer.size:
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0


def code_of(model: Any, name: str) -> int:
    """Return the place of an operator in the model's list, and put it there if need be."""
    number = _CODES[name]
    for index, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == number:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode = number, min(number, _SMALL_CODE)
    code.version = 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def forget_unused(model: Any) -> None:
    """Drop tensors that no operator uses any more and what they held, and unused operators."""
    kept = {entry.buffer for entry in model.metadata or ()}
    for number, graph in enumerate(model.subgraphs):
        definitions = [d for d in model.signatureDefs or () if d.subgraphIndex == number]
        _renumber(graph, definitions)
        kept.update(tensor.buffer for tensor in graph.tensors)
    for index, buffer in enumerate(model.buffers):
        if index not in kept:
            buffer.data = None
    _forget_codes(model)


def _renumber(graph: Any, definitions: list[Any]) -> None:
    used = {int(i) for op in graph.operators for i in (*op.inputs, *op.outputs)}
    used.update(map(int, (*graph.inputs, *graph.outputs)))
    old = sorted(used - {-1})
    places = {index: place for place, index in enumerate(old)} | {-1: -1}
    graph.tensors = [graph.tensors[index] for index in old]
    for each in (graph, *graph.operators):
        each.inputs = [places[int(index)] for index in each.inputs]
        each.outputs = [places[int(index)] for index in each.outputs]
    for definition in definitions:
        for each in (*definition.inputs, *definition.outputs):
            each.tensorIndex = places[each.tensorIndex]


def _forget_codes(model: Any) -> None:
    operators = [op for graph in model.subgraphs for op in graph.operators]
    used = sorted({op.opcodeIndex for op in operators})
    model.operatorCodes = [model.operatorCodes[index] for index in used]
    for op in operators:
        op.opcodeIndex = used.index(op.opcodeIndex)


def name_of(model: Any, op: Any) -> str:
    """Return the name of an operator."""
    code = model.operatorCodes[op.opcodeIndex]
    return str(NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)])


def text(name: Any) -> str:
    """Return a name as text: what was read from a file is bytes, and may be left out."""
    return name.decode() if isinstance(name, bytes) else name or ""


class Graph:
    """A subgraph that is being written."""

    def __init__(self, model: Any, graph: Any) -> None:
        self.model = model
        self.graph = graph
        self.number = model.subgraphs.index(graph)
        self.name = text(graph.name) or "main"
        self.inputs: list[int] = []

    def new(self, name: str, inputs: Sequence[tuple[list[int], int]]) -> Graph:
        """Add a subgraph to the model."""
        graph = schema.SubGraphT()
        graph.name = f"{name}_{len(self.model.subgraphs)}"
        graph.tensors, graph.operators = [], []
        self.model.subgraphs.append(graph)
        made = Graph(self.model, graph)
        made.inputs = graph.inputs = [made.tensor(*each) for each in inputs]
        return made

    def give(self, results: list[int]) -> None:
        """Say what the subgraph gives."""
        self.graph.outputs = results

    def tensor(self, shape: Sequence[int], kind: int = FLOAT, buffer: int = 0) -> int:
        """Add a tensor; return its index."""
        made = schema.TensorT()
        made.shape, made.type, made.buffer = np.array(shape, np.int32), kind, buffer
        made.name = f"{self.name}_{len(self.graph.tensors)}"
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def like(self, index: int) -> int:
        """Add a tensor of the shape and type of another."""
        return self.tensor(self.shape(index), self.type(index))

    def constant(self, values: Any) -> int:
        """Add a constant."""
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        kind = INT if values.dtype == np.int32 else FLOAT
        return self.tensor(values.shape, kind, len(self.model.buffers) - 1)

    def integer(self, value: int | Sequence[int]) -> int:
        """Add a constant integer, or several."""
        return self.constant(np.array(value, np.int32))

    def copied(self, source: Graph, index: int) -> int:
        """Add a tensor of another subgraph; both share the values of a constant."""
        tensor = source.graph.tensors[index]
        made = self.tensor(tensor.shape, tensor.type, tensor.buffer)
        self.graph.tensors[made].quantization = copy.copy(tensor.quantization)
        return made

    def shape(self, index: int) -> list[int]:
        """Return a tensor's shape."""
        found = self.graph.tensors[index].shape
        return [] if found is None else [int(size) for size in found]

    def type(self, index: int) -> int:
        """Return a tensor's element type."""
        return int(self.graph.tensors[index].type)

    def is_constant(self, index: int) -> bool:
        """Whether a tensor has its values in the file."""
        return self.model.buffers[self.graph.tensors[index].buffer].data is not None

    def add(self, name: str, inputs: Sequence[int], outputs: Sequence[int], **options: Any) -> None:
        """Add an operator."""
        op = schema.OperatorT()
        op.opcodeIndex = code_of(self.model, name)
        op.inputs, op.outputs = list(inputs), list(outputs)
        kind = f"{''.join(part.capitalize() for part in name.split('_'))}Options"
        if hasattr(schema, f"{kind}T"):
            op.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            op.builtinOptions = getattr(schema, f"{kind}T")()
            for key, value in options.items():
                setattr(op.builtinOptions, key, value)
        self.graph.operators.append(op)

    def apply(self, name: str, *inputs: int) -> int:
        """Add an elementwise operator; return its result."""
        result = self.like(inputs[0])
        self.add(name, inputs, [result])
        return result

    def linear(self, x: int, weight: int, bias: int, result: int) -> None:
        """Add a product with a weight."""
        self.add("FULLY_CONNECTED", [x, weight, bias], [result], keepNumDims=True)

    def split(self, x: int, count: int) -> list[int]:
        """Split the last axis."""
        *lead, size = self.shape(x)
        parts = [self.tensor([*lead, size // count]) for _ in range(count)]
        self.add("SPLIT", [self.integer(len(lead)), x], parts, numSplits=count)
        return parts

    def parts(self, x: int, count: int) -> list[int]:
        """Split the first axis."""
        size, *rest = self.shape(x)
        found = [self.tensor([size // count, *rest]) for _ in range(count)]
        self.add("SPLIT", [self.integer(0), x], found, numSplits=count)
        return found

    def joined(self, values: Sequence[int]) -> int:
        """Concatenate along the first axis."""
        sizes = [self.shape(each) for each in values]
        result = self.tensor([sum(size[0] for size in sizes), *sizes[0][1:]])
        self.add("CONCATENATION", values, [result], axis=0)
        return result

    def rename(self, found: int, wanted: int) -> None:
        """Let all operators write and read one tensor instead of another."""
        for op in self.graph.operators:
            op.inputs, op.outputs = (
                [wanted if int(i) == found else int(i) for i in each]
                for each in (op.inputs, op.outputs)
            )

    def zeros(self, shape: list[int]) -> int:
        """Add zeros, made when the model runs."""
        result = self.tensor(shape)
        zero = self.constant(np.zeros((), np.float32))
        self.add("FILL", [self.integer(shape), zero], [result])
        return result

    def reshaped(self, x: int, shape: list[int]) -> int:
        """Reshape to a new tensor."""
        result = self.tensor(shape)
        self.reshape(x, result)
        return result

    def reshape(self, x: int, result: int) -> None:
        """Reshape to a tensor that is there already."""
        shape = self.shape(result)
        self.add("RESHAPE", [x, self.integer(shape)], [result], newShape=shape)
