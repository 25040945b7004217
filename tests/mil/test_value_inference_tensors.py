"""Tensor, quantization and compression kernels against coremltools' own constant folding."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import pytest

from tests.mil.harness import Case, assert_close, check, kind, run_op

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813
    from coremltools.converters.mil.mil import types

pytestmark = pytest.mark.filterwarnings("ignore")  # coremltools' own

RNG = np.random.default_rng(7)
RANKS = [(5,), (2, 3), (2, 3, 4), (1, 3, 2, 4), (2, 1, 3, 2, 2)]


def floats(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def integers(*shape: int, low: int = -9, high: int = 10) -> np.ndarray:
    return RNG.integers(low, high, shape).astype(np.int32)


def distinct(*shape: int) -> np.ndarray:
    """Numbers without ties, so that a sort has one answer."""
    return RNG.permutation(int(np.prod(shape))).reshape(shape).astype(np.float32)


def cases(op: str, opsets: str, *inputs: dict[str, Any]) -> list[Any]:
    return [
        pytest.param(Case(op, given, opset), id=f"{op}-{opset}-{number}")
        for opset in opsets.split()
        for number, given in enumerate(inputs)
    ]


def pads() -> list[dict[str, Any]]:
    found = []
    for mode, shape in itertools.product(("constant", "reflect", "replicate"), RANKS):
        widths = [[0, 0] if size == 1 else [1, size - 1] for size in shape]
        for dims in {1, len(shape)}:
            pad = np.array(widths[-dims:], np.int32).reshape(-1)
            found.append({"x": floats(*shape), "pad": pad, "mode": mode, "constant_val": 1.5})
    return found


def slices() -> list[dict[str, Any]]:
    x, y = floats(6, 5, 4), integers(7)
    return [
        {"x": x, "begin": [1, 0, 2], "end": [5, 5, 4]},
        {"x": x, "begin": [1, -4, -2], "end": [-1, -1, 4], "stride": [2, 1, 1]},
        {"x": x, "begin": [4, -1, 3], "end": [0, -5, 1], "stride": [-1, -2, -1]},
        {"x": x, "begin": [4, 1, 3], "end": [0, 2, 1], "stride": [-3, 2, -1],
         "begin_mask": [True, False, True], "end_mask": [True, True, True]},
        {"x": x, "begin": [2, 1, 0], "end": [3, 2, 4], "squeeze_mask": [True, False, False]},
        {"x": x, "begin": [-2, 1, -1], "end": [0, 2, 4], "squeeze_mask": [True, False, True]},
        {"x": x, "begin": [0, 0, 0], "end": [6, 9, 4], "end_mask": [False, True, False]},
        {"x": y, "begin": [-3], "end": [0], "squeeze_mask": [True]},
        {"x": y, "begin": [9], "end": [0], "stride": [-2], "end_mask": [True]},
    ]  # fmt: skip


TENSOR_OPERATION = [
    *cases("band_part", "iOS15", *({"x": floats(*shape), "lower": lower, "upper": upper}
          for shape in RANKS[1:] for lower in (-1, 0, 1) for upper in (-1, 0, 2))),
    *cases("cumsum", "iOS15", *({"x": x, "axis": axis, "reverse": reverse}
          for shape in RANKS for x in (floats(*shape), integers(*shape))
          for axis in (-1, 0) for reverse in (False, True))),
    *cases("fill", "iOS15", {"shape": [2, 3], "value": 1.5}, {"shape": [4], "value": np.int32(-3)},
           {"shape": [1, 2, 1, 2, 2], "value": True}, {"shape": [2]}),
    *cases("fill_like", "iOS16", {"ref_tensor": floats(2, 3), "value": np.int32(4)},
           {"ref_tensor": integers(5)}),
    *cases("non_zero", "iOS15", *({"x": integers(*shape, low=-1, high=2)} for shape in RANKS)),
    *cases("pad", "iOS15", *pads()),
    *cases("range_1d", "iOS15", {"start": 0, "end": 7, "step": 2},
           {"start": 5, "end": -2, "step": -3},
           {"start": 0.5, "end": 2.0, "step": 0.25}, {"start": 0.0, "end": 1.0, "step": 0.1}),
    *cases("tile", "iOS15", *({"x": floats(*shape), "reps": integers(len(shape), low=1, high=4)}
          for shape in RANKS)),
    *cases("argsort", "iOS15", *({"x": distinct(*shape), "axis": axis, "ascending": ascending}
          for shape in RANKS for axis in (-1, 0) for ascending in (False, True))),
    *cases("topk", "iOS15 iOS16 iOS17",
          *({"x": distinct(*shape), "k": 2, "axis": axis, "ascending": ascending}
          for shape, axis in (((5,), 0), ((2, 3), 1), ((2, 3, 4), -1), ((3, 2, 4), 0))
          for ascending in (False, True))),
    *cases("topk", "iOS16 iOS17", {"x": distinct(3, 4), "k": 3, "return_indices": False},
           {"x": distinct(3, 4), "k": 4, "sort": True}),
    *cases("flatten2d", "iOS15", *({"x": floats(*shape), "axis": axis}
          for shape in RANKS for axis in range(1 - len(shape), len(shape)) if axis)),
    *cases("shape", "iOS15", *({"x": floats(*shape)} for shape in RANKS)),
    *cases("concat", "iOS15", {"values": [np.int32(2), np.int32(3)], "axis": 0},
           *({"values": [floats(*shape), floats(*shape), floats(*shape)], "axis": axis}
             for shape in RANKS for axis in (-1, 0))),
    *cases("split", "iOS15", {"x": floats(6, 4), "num_splits": 3, "axis": 0},
           {"x": floats(6, 4), "split_sizes": [1, 3], "axis": -1},
           {"x": floats(5), "num_splits": 2, "split_sizes": [2, 3], "axis": 0},
           {"x": floats(2, 3), "num_splits": 1, "axis": 1}),
    *cases("stack", "iOS15", {"values": [np.int32(2), np.int32(3)], "axis": 0},
           *({"values": [floats(*shape), floats(*shape)], "axis": axis}
             for shape in RANKS[:-1] for axis in (-1, 0, 1))),
    *cases("identity", "iOS15", *({"x": floats(*shape)} for shape in RANKS)),
]  # fmt: skip

TENSOR_TRANSFORMATION = [
    *cases("expand_dims", "iOS15 iOS17", {"x": np.float32(3), "axes": [0]},
           {"x": floats(3), "axes": [-1]},
           {"x": floats(2, 3), "axes": [0, -1]}, {"x": floats(2, 3), "axes": [3, 1]},
           {"x": floats(2, 3), "axes": [1, 2, 0]}),
    *cases("squeeze", "iOS15 iOS17", {"x": floats(1, 3, 1), "axes": [0]},
           {"x": floats(1, 3, 1), "axes": [-1, 0]}, {"x": floats(1, 3, 1)},
           {"x": floats(2, 1, 1, 3), "axes": [-2]}, {"x": floats(1)}),
    *cases("transpose", "iOS15 iOS17", *({"x": floats(*shape), "perm": RNG.permutation(len(shape))}
          for shape in RANKS), {"x": floats(2, 3, 4), "perm": [-1, 0, -2]}),
    *cases("reshape", "iOS15 iOS17", {"x": floats(2, 3, 4), "shape": [6, 4]},
           {"x": floats(2, 3, 4), "shape": [-1, 8]}, {"x": floats(2, 3, 4), "shape": [0, -1, 2]},
           {"x": floats(2, 3, 4), "shape": [0, 0, 0]}, {"x": floats(1), "shape": [1, 1, 1, 1, 1]},
           {"x": floats(2, 6), "shape": [-1]}),
    *cases("reshape", "iOS17", {"x": floats(2, 50), "shape": [1, 0, -1, 0]},
           {"x": floats(2, 3, 4), "shape": [-1, 0]}, {"x": floats(2, 3), "shape": [0, 2, 3]},
           {"x": floats(2, 3), "shape": [0, 0, 0, 0]}),
    *cases("reverse", "iOS15 iOS17", *({"x": floats(*shape)} for shape in RANKS),
           {"x": floats(2, 3, 4), "axes": [0, -1]}, {"x": integers(4), "axes": [0]}),
    *cases("slice_by_index", "iOS15 iOS17", *slices()),
    *cases("slice_by_size", "iOS15 iOS17", {"x": floats(6, 5), "begin": [1, 2], "size": [3, -1]},
           {"x": floats(6, 5), "begin": [-4, 0], "size": [2, 5]}, {"x": floats(4), "begin": [1],
           "size": [-1]}),
    *cases("slice_update", "iOS18", {"x": floats(6, 5), "update": floats(2, 5), "begin": [1, 0],
           "end": [3, 5]},
           {"x": floats(6, 5), "update": floats(3, 2), "begin": [5, 0], "end": [0, 4],
            "stride": [-2, 2]},
           {"x": floats(6, 5), "update": floats(6), "begin": [0, 3], "end": [0, 0],
            "begin_mask": [True, False], "end_mask": [True, False], "squeeze_mask": [False, True]},
           {"x": integers(7), "update": integers(7), "begin": [0], "end": [0], "stride": [-1],
            "begin_mask": [True], "end_mask": [True]}),
]  # fmt: skip

SCATTER_GATHER = [
    *cases("gather", "iOS15 iOS16 iOS17", {"x": floats(5, 3), "indices": np.int32(2)},
           {"x": floats(5, 3), "indices": [0, 4, -1, 2], "axis": 0},
           {"x": floats(5, 3, 2), "indices": integers(2, 3, low=0, high=3), "axis": -2},
           {"x": floats(4), "indices": np.int32(3)},
           {"x": integers(4), "indices": [[1, 2], [0, 3]]}),
    *cases("gather", "iOS16 iOS17",
           {"x": floats(2, 5, 3), "indices": integers(2, 4, low=0, high=5), "axis": 1,
            "batch_dims": 1},
           {"x": floats(2, 3, 4, 5), "indices": integers(2, 3, 2, low=0, high=5), "axis": 3,
            "batch_dims": 2},
           {"x": floats(2, 3, 4, 5), "indices": integers(2, 2, 2, low=0, high=4), "axis": 2,
            "batch_dims": 1}),
    *cases("gather_along_axis", "iOS15 iOS16 iOS17",
           {"x": floats(4, 3), "indices": integers(2, 3, low=-4, high=4), "axis": 0},
           {"x": floats(2, 3, 4), "indices": integers(2, 3, 6, low=0, high=4), "axis": -1}),
    *cases("scatter_along_axis", "iOS15 iOS17",
           {"data": floats(4, 3), "indices": integers(2, 3, low=0, high=4), "updates": floats(2, 3),
            "axis": 0, "mode": "update"},
           {"data": floats(2, 6), "indices": [[0, 1, 5], [2, -1, 0]], "updates": floats(2, 3),
            "axis": -1, "mode": "update"}),
    *cases("select", "iOS15", {"cond": [True, False], "a": floats(3, 2), "b": floats(2)},
           {"cond": np.array([[True], [False]]), "a": integers(2, 3), "b": integers(1, 3)}),
]  # fmt: skip


def bits(array: Any, width: int, signed: bool = False) -> np.ndarray:
    """Mark an array as one of MIL's narrow integers."""
    return np.asarray(array).astype(getattr(types, f"np_{'' if signed else 'u'}int{width}_dtype"))


def palette(width: int, vector: int, indices: tuple[int, ...], groups: tuple[int, ...]) -> Any:
    lut = floats(*groups, 2**width, vector)
    codes = RNG.integers(0, 2**width, indices).astype(np.uint8)
    return {"indices": codes if width == 8 else bits(codes, width), "lut": lut}


QUANTIZE = [
    *cases("quantize", "iOS17",
           *({"input": floats(2, 3, 4) * 50, "scale": np.float32(0.5), "output_dtype": name,
              "zero_point": np.dtype(name).type(7)} for name in ("int8", "uint8")),
           {"input": np.array([0.5, 1.5, -0.5, -2.5, 300, -300], np.float32),
            "scale": np.float32(1), "output_dtype": "int8"},
           {"input": floats(2, 3, 4) * 9, "scale": np.array([0.1, 0.3, 2], np.float32),
            "zero_point": np.array([1, 0, -4], np.int8), "axis": 1, "output_dtype": "int8"},
           {"input": floats(2, 3) * 9, "scale": np.array([0.1, 0.3, 2], np.float32), "axis": -1,
            "output_dtype": "uint8"}),
]  # fmt: skip

COMPRESSION = [
    *cases("dequantize", "iOS17",
           {"input": integers(2, 3).astype(np.int8), "scale": np.float32(0.3)},
           {"input": integers(2, 3, low=0).astype(np.uint8), "scale": np.float32(0.3),
            "zero_point": np.uint8(200)},
           {"input": integers(4, 3).astype(np.int8), "scale": np.abs(floats(4)),
            "zero_point": integers(4).astype(np.int8), "axis": -2}),
    *cases("constexpr_affine_dequantize", "iOS16",
           {"quantized_data": integers(2, 3).astype(np.int8), "zero_point": np.int8(3),
            "scale": np.float32(0.2), "axis": 0},
           {"quantized_data": integers(2, 3, 2, low=0).astype(np.uint8),
            "zero_point": np.array([1, 2, 255], np.uint8), "scale": floats(3), "axis": 1},
           {"quantized_data": integers(2, 3).astype(np.int8), "zero_point": np.float32(0.5),
            "scale": floats(3), "axis": -1}),
    *cases("constexpr_cast", "iOS16 iOS18",
           {"source_val": floats(2, 3).astype(np.float16), "output_dtype": "fp32"}),
    *cases("constexpr_lut_to_dense", "iOS16",
           *({"indices": RNG.integers(0, 256, (width * 15 + 7) // 8).astype(np.uint8),
              "lut": floats(2**width), "shape": np.array([3, 5], np.uint32)}
             for width in (1, 2, 4, 6, 8))),
    *cases("constexpr_lut_to_dense", "iOS18",
           *(palette(width, 1, (6, 4), (2, 1)) for width in (1, 2, 3, 4, 6, 8)),
           *(palette(2, 3, (4, 6, 2), groups) | {"vector_axis": axis}
             for groups in ((1, 1, 1), (2, 3, 1)) for axis in (0, 1, -1)),
           palette(4, 1, (4, 4), (2, 4)) | {"vector_axis": 1}),
    *cases("constexpr_sparse_to_dense", "iOS16",
           {"nonzero_data": np.arange(1, 7, dtype=np.float32),
            "mask": np.array([0b01101100, 0b00000011], np.uint8),
            "shape": np.array([2, 5], np.uint32)}),
    *cases("constexpr_sparse_to_dense", "iOS18",
           {"nonzero_data": np.arange(1, 4, dtype=np.float32),
            "mask": bits([[1, 0, 0], [0, 1, 1]], 1)},
           {"nonzero_data": bits([-3, 4, 7], 4, signed=True),
            "mask": bits([[1, 0, 0], [0, 1, 1]], 1)}),
    *cases("constexpr_blockwise_shift_scale", "iOS18",
           {"data": integers(4, 6).astype(np.int8), "scale": floats(2, 3)},
           {"data": bits(integers(4, 6, low=0), 4), "scale": floats(4, 1),
            "offset": bits(integers(4, 1, low=0), 4)},
           {"data": bits(integers(2, 4, 3, low=-8, high=8), 4, signed=True),
            "scale": floats(2, 2, 3), "offset": floats(2, 2, 3)}),
    *cases("constexpr_lut_to_sparse", "iOS18",
           *({"indices_mask": bits([[1, 1, 0], [0, 1, 1]], 1),
              "indices_nonzero_data": bits([0, 1, 1, 0], 1)} | rest for rest in (
                {"lut": floats(1, 1, 2, 1)}, {"lut": floats(2, 1, 2, 1)},
                {"lut": floats(1, 1, 2, 3), "vector_axis": 0},
                {"lut": floats(1, 3, 2, 2), "vector_axis": 1}))),
    *cases("constexpr_sparse_blockwise_shift_scale", "iOS18",
           *({"data_mask": bits([[1, 1, 0, 0], [0, 1, 0, 1]], 1),
              "nonzero_data": np.array([10, -11, 3, 4], np.int8)} | rest for rest in (
                {"scale": floats(1, 4)}, {"scale": floats(2, 2)},
                {"scale": floats(1, 4), "offset": integers(1, 4).astype(np.int8)}))),
]  # fmt: skip


@pytest.mark.parametrize(
    "case", TENSOR_OPERATION + TENSOR_TRANSFORMATION + SCATTER_GATHER + QUANTIZE
)
def test_kernel_computes_what_coremltools_folds(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("case", COMPRESSION)
def test_kernel_expands_what_coremltools_expands(case: Case) -> None:
    wanted = [unmarked(value) for value in expanded(case)]
    plain, narrow = {}, {}
    for name, value in case.inputs.items():
        plain[name] = value if isinstance(value, str) else unmarked(value)
        dtype = getattr(value, "dtype", None)
        if dtype is not None and dtype.metadata:
            narrow[name] = types.builtin_to_string(types.numpy_type_to_builtin_type(dtype))
    outputs = tuple(kind(want) for want in wanted)
    results = run_op(case.op, plain, outputs, opset=case.opset, sub_byte=narrow)
    for got, want in zip(results, wanted, strict=True):
        assert_close(got, want, 1e-6, case.op)


def expanded(case: Case) -> list[Any]:
    """Return what coremltools expands a compressed constant to, which it does not fold."""
    made: list[Any] = []

    @mb.program(input_specs=[], opset_version=getattr(ct.target, case.opset))
    def program():
        built = getattr(mb, case.op)(**case.inputs)
        made.extend(built if isinstance(built, tuple | list) else [built])
        return built

    values = made[0].op.materialized_val_inference()
    return list(values) if isinstance(values, tuple) else [values]


def unmarked(value: Any) -> np.ndarray:
    """Return the array without coremltools' mark of a narrow integer type."""
    array = np.asarray(value)
    return array.astype(array.dtype.str)
