"""One vocabulary for the tensors that cross a model's border, in every format and runtime."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from edgekit.errors import UsageError


class DType(Enum):
    """Element types; the value is the name that numpy, ONNX and PyTorch share."""

    FLOAT64 = "float64"
    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    INT64 = "int64"
    INT32 = "int32"
    INT16 = "int16"
    INT8 = "int8"
    INT4 = "int4"
    UINT64 = "uint64"
    UINT32 = "uint32"
    UINT16 = "uint16"
    UINT8 = "uint8"
    UINT4 = "uint4"
    BOOL = "bool"
    STRING = "string"
    COMPLEX64 = "complex64"
    COMPLEX128 = "complex128"

    @property
    def bits(self) -> int:
        """Bits that one element takes in a file; 0 for strings, whose size varies."""
        if self is DType.STRING:
            return 0
        return 8 if self is DType.BOOL else int(re.sub(r"\D", "", self.value))

    @property
    def is_float(self) -> bool:
        """Whether elements are real floating-point numbers."""
        return "float" in self.value

    def numpy(self) -> np.dtype[Any]:
        """Return the numpy dtype that holds one element.

        Raises:
            UsageError: numpy itself has no such type (bfloat16 and the 4-bit types).
        """
        if self is DType.STRING:
            return np.dtype(object)
        try:
            dtype: np.dtype[Any] = np.dtype(self.value)
        except TypeError:
            raise UsageError(f"numpy cannot hold {self.value} tensors.") from None
        return dtype

    @staticmethod
    def of(array: np.ndarray[Any, Any]) -> DType:
        """Return the type of a numpy array's elements."""
        return DType("string" if array.dtype.kind in "OSU" else array.dtype.name)


@dataclass(frozen=True)
class Dim:
    """A dimension that may vary between `min` and `max` (both included; None: no bound).

    `sizes`, where there are any, are the only ones that it takes, from `min` to `max`.
    """

    name: str
    min: int = 1
    max: int | None = None
    sizes: tuple[int, ...] = ()

    @staticmethod
    def among(name: str, sizes: Iterable[int]) -> Dim:
        """Return a dimension that takes these sizes only."""
        ordered = tuple(sorted(set(sizes)))
        return Dim(name, ordered[0], ordered[-1], ordered)

    def __str__(self) -> str:
        if self.sizes:
            return f"{self.name}={'|'.join(map(str, self.sizes))}"
        return f"{self.name}={self.min}..{'' if self.max is None else self.max}"

    def accepts(self, size: int) -> bool:
        """Whether the dimension can have a size."""
        if self.sizes:
            return size in self.sizes
        return self.min <= size and (self.max is None or size <= self.max)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        data: dict[str, Any] = {"name": self.name, "min": self.min, "max": self.max}
        return data | ({"sizes": list(self.sizes)} if self.sizes else {})

    @staticmethod
    def from_json(data: dict[str, Any]) -> Dim:
        """Rebuild a dimension from `to_json`."""
        return Dim(data["name"], data["min"], data["max"], tuple(data.get("sizes", ())))


Shape = tuple[int | Dim, ...]


@dataclass(frozen=True)
class TensorSpec:
    """Name, element type and shape of one input or output.

    Attributes:
        name: As the artifact spells it.
        dtype: Element type that the artifact takes or gives.
        shape: One entry per axis.
        layout: ``"nhwc"`` when the artifact has the channel axis last where the source has it
            second; ``"pixels"`` and ``"image"`` for uint8 pictures whose processing is baked in
            (`edgekit.processing.baking`); None when the axes are the source's own.
        source_dtype: Element type in the source model, where the format had to change it.
        source_shape: Shape in the source model, where the format had to change it: the elements
            are the same ones in the same order.
        scale: Of an integer that stands for a float of the source: ``float = scale * (integer -
            zero_point)``.  None where elements are numbers themselves.
        zero_point: The integer that stands for zero.
    """

    name: str
    dtype: DType
    shape: Shape
    layout: str | None = None
    source_dtype: DType | None = None
    source_shape: tuple[int, ...] | None = None
    scale: float | None = None
    zero_point: int = 0

    def quantized(self, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the integers that stand for floats of the source."""
        assert self.scale is not None
        limits = np.iinfo(self.dtype.numpy())
        rounded = np.round(array.astype(np.float64) / self.scale) + self.zero_point
        return np.clip(rounded, limits.min, limits.max).astype(self.dtype.numpy())

    def dequantized(self, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the floats that integers stand for."""
        assert self.scale is not None
        return ((array.astype(np.float32) - self.zero_point) * self.scale).astype(np.float32)

    def __str__(self) -> str:
        dims = ", ".join(str(d) for d in self.shape)
        return f"{self.name}: {self.dtype.value}[{dims}]"

    @property
    def is_static(self) -> bool:
        """Whether every dimension is a fixed number."""
        return all(isinstance(dim, int) for dim in self.shape)

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of `shape` fits, dynamic dimensions within their bounds."""
        if len(shape) != len(self.shape):
            return False
        return all(
            got == want if isinstance(want, int) else want.accepts(got)
            for got, want in zip(shape, self.shape, strict=True)
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain data for a sidecar."""
        data: dict[str, Any] = {
            "name": self.name,
            "dtype": self.dtype.value,
            "shape": [d if isinstance(d, int) else d.to_json() for d in self.shape],
        }
        if self.layout is not None:
            data["layout"] = self.layout
        if self.source_dtype is not None:
            data["source_dtype"] = self.source_dtype.value
        if self.source_shape is not None:
            data["source_shape"] = list(self.source_shape)
        if self.scale is not None:
            data |= {"scale": self.scale, "zero_point": self.zero_point}
        return data

    @staticmethod
    def from_json(data: dict[str, Any]) -> TensorSpec:
        """Rebuild a spec from `to_json`."""
        source, shape = data.get("source_dtype"), data.get("source_shape")
        return TensorSpec(
            data["name"],
            DType(data["dtype"]),
            tuple(d if isinstance(d, int) else Dim.from_json(d) for d in data["shape"]),
            data.get("layout"),
            DType(source) if source else None,
            None if shape is None else tuple(shape),
            data.get("scale"),
            data.get("zero_point", 0),
        )


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of a model, in calling order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.inputs))}) -> ({', '.join(map(str, self.outputs))})"

    def to_json(self) -> dict[str, Any]:
        """Return plain data for a sidecar."""
        return {
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> Signature:
        """Rebuild a signature from `to_json`."""
        return Signature(
            tuple(TensorSpec.from_json(spec) for spec in data["inputs"]),
            tuple(TensorSpec.from_json(spec) for spec in data["outputs"]),
        )
