"""Inputs: what the user describes, examples made or fitted, variations, stored samples."""

import numpy as np
import pytest
import torch
from torch import nn

import edgekit
from edgekit.errors import SourceError, UsageError
from edgekit.inputs import InputSpec, example_call, fitted, read_samples, split_samples, vary
from edgekit.tensors import Dim, DType


@pytest.mark.parametrize(
    ("text", "shape", "dtype"),
    [
        ("x:1,3,224,224", (1, 3, 224, 224), None),
        ("x: 1, 3 :int64", (1, 3), DType.INT64),
        ("x:", (), None),
        ("x:7", (7,), None),
        ("x:1..8,3", (Dim("batch", 1, 8), 3), None),
        ("x:1,2..", (1, Dim("x_1", 2, None)), None),
        ("x:1,8|2|4", (1, Dim("x_1", 2, 8, (2, 4, 8))), None),
        ("x:rows=2..4,cols=1..", (Dim("rows", 2, 4), Dim("cols", 1, None)), None),
    ],
)
def test_specs(text, shape, dtype):
    spec = InputSpec.parse(text)
    assert (spec.name, spec.shape, spec.dtype) == ("x", shape, dtype)
    assert InputSpec.parse(str(spec)) == spec


@pytest.mark.parametrize(
    "text",
    [
        *("x", "1,3", ":1,3", "x:1,a", "x:1,-3", "x:1,,3", "x:8..1", "x:0..4", "x:3..3"),
        *("x:1:float", "x:1:int4", "x:1:string", "x:1:int64:y", "a-b:1", "x:1.5"),
        *("x:1|", "x:4|4", "x:0|4", "x:1|2..3"),
    ],
)
def test_specs_that_are_not_understood(text):
    with pytest.raises(UsageError) as caught:
        InputSpec.parse(text)
    assert text in caught.value.message
    assert caught.value.hint


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(7, 4)

    def forward(self, ids, mask=None, scale=1.0):
        return self.table(ids)


def call(given, *specs, module=None):
    return example_call(module or Tokens(), given, tuple(map(InputSpec.parse, specs)))


def test_integers_stay_within_the_embedding():
    ids = call(None, "ids:4,200:int64").tensors["ids"]
    assert ids.dtype is torch.int64
    assert set(ids.unique().tolist()) == set(range(7))


def test_specs_in_any_order_come_out_in_forwards_order():
    made = call(None, "scale:1", "mask:2,5:bool", "ids:2,5:int64")
    assert list(made.tensors) == ["ids", "mask", "scale"]
    assert made.tensors["mask"].all()


def test_a_dict_in_any_order_comes_out_in_forwards_order():
    given = {"mask": torch.ones(1), "ids": torch.ones(1, dtype=torch.int64)}
    assert list(call(given).tensors) == ["ids", "mask"]


def test_a_spec_repeats_or_cuts_the_sources_own_example():
    ids = torch.tensor([[1, 2, 3]])
    assert call((ids,), "ids:2,5").tensors["ids"].tolist() == [[1, 2, 3, 1, 2]] * 2
    assert call((ids,), "ids:1,2:int32").tensors["ids"].dtype is torch.int32
    assert call((ids,), "ids:1,1..9").tensors["ids"].tolist() == [[1, 2, 3]]
    assert call((ids,), "ids:6").tensors["ids"].shape == (6,)
    assert fitted(torch.ones(0, 3), (2, 3)) is None


@pytest.mark.parametrize("name", ["float64", "float16", "bfloat16", "uint8", "int8", "bool"])
def test_every_element_type_can_be_made(name):
    assert call(None, f"ids:2:{name}").tensors["ids"].dtype is getattr(torch, name)


@pytest.mark.parametrize(
    ("given", "specs", "error", "words"),
    [
        (None, (), SourceError, "brings no example inputs"),
        (None, ("mask:1",), SourceError, "missing a required argument: 'ids'"),
        (None, ("image:1",), UsageError, "takes no input named 'image'"),
        ((torch.ones(1), 2, 3, 4), (), SourceError, "too many positional"),
    ],
)
def test_inputs_that_are_not_forwards(given, specs, error, words):
    with pytest.raises(error, match=words):
        call(given, *specs)


def test_a_spec_reaches_into_nested_examples_and_stars():
    class Batch(nn.Module):
        def forward(self, batch, *rest):
            return batch["a"]

    given = ({"a": torch.ones(1, 2)}, torch.ones(3))
    made = call(given, "batch_a:4,2", "rest_0:5", module=Batch())
    assert {name: tuple(t.shape) for name, t in made.tensors.items()} == {
        "batch_a": (4, 2),
        "rest_0": (5,),
    }
    arguments = made.arguments()
    assert arguments.args[0]["a"].shape == (4, 2)
    with pytest.raises(UsageError) as caught:
        call({"batch": {"a": torch.ones(1)}}, "b:1", module=nn.Bilinear(1, 1, 1))
    assert "batch_a" in caught.value.hint


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "int64", "bool", "uint8"])
@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (0, 4)])
def test_variations_keep_type_shape_and_range(dtype, shape):
    example = {"x": np.asarray(np.arange(np.prod(shape)).reshape(shape) + 3, dtype)}
    sets = vary(example)
    assert len(sets) == 3
    assert sets[0] is example
    for each in sets:
        array = each["x"]
        assert isinstance(array, np.ndarray)
        assert (array.dtype, array.shape) == (np.dtype(dtype), shape)
        if array.size > 1:
            assert example["x"].min() <= array.min() <= array.max() <= example["x"].max()
    again = vary(example)
    assert all(np.array_equal(a["x"], b["x"]) for a, b in zip(sets, again, strict=True))
    if example["x"].size > 1 and dtype.startswith("float"):
        assert not np.array_equal(sets[0]["x"], sets[1]["x"])


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_a_mask_of_ones_is_varied_as_padding_is(dtype):
    for each in vary({"attention_mask": np.ones((1, 1, 9), dtype)})[1:]:
        row = each["attention_mask"][0, 0]
        assert row.dtype == dtype
        assert row[0] == 1
        assert row[-1] == 0
        assert (np.sort(row)[::-1] == row).all()


def test_variations_bear_values_that_are_not_finite():
    example = {"x": np.array([np.inf, 1.0, 2.0, np.nan], np.float32)}
    for each in vary(example):
        assert np.isfinite(each["x"][1:3]).all()
    assert np.isnan(vary({"x": np.array([np.nan])})[1]["x"]).all()


def test_stored_samples(tmp_path):
    like = {"x": np.zeros((1, 3), np.float32), "n": np.zeros((1,), np.int64)}
    np.savez(tmp_path / "a.npz", x=np.ones((4, 3), np.float64), n=np.arange(4, dtype=np.int32))
    np.savez(tmp_path / "b.npz", x=np.ones((1, 3)), n=np.ones(1, np.int64), other=1)
    sets = split_samples(read_samples(tmp_path), like)
    assert len(sets) == 5
    assert all(each["x"].dtype == np.float32 and each["x"].shape == (1, 3) for each in sets)
    assert [int(each["n"][0]) for each in sets] == [0, 1, 2, 3, 1]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"y": np.ones((1, 3))}, "no array named 'x'"),
        ({"x": np.ones((1, 4), np.float32)}, r"has shape \[1, 4\]"),
        ({"x": np.array([["a", "b", "c"]])}, "the model takes float32"),
        ({"x": np.ones((2, 3)), "n": np.ones(3, np.int64)}, "different numbers of samples"),
    ],
)
def test_stored_samples_that_do_not_fit(arrays, words):
    like = {"x": np.zeros((1, 3), np.float32)}
    like |= {"n": np.zeros(1, np.int64)} if "n" in arrays else {}
    with pytest.raises(UsageError, match=words):
        split_samples([arrays], like)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04cut", b"\x93NUMPY\x01\x00v\x00"])
def test_files_that_are_no_samples(tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(UsageError, match=r"is not an \.npz file"):
        read_samples(tmp_path / "x.npz")
    with pytest.raises(UsageError, match="no input data"):
        read_samples(tmp_path / "missing.npz")


def test_stored_samples_of_a_bfloat16_model_are_rounded_as_it_rounds(tmp_path):
    model = nn.Linear(2, 2).bfloat16()
    program = edgekit.export(model, (torch.ones(1, 2, dtype=torch.bfloat16),))
    assert program.samples[1]["input"].dtype == np.float32
    rounded = torch.from_numpy(program.samples[1]["input"]).bfloat16().float().numpy()
    assert np.array_equal(program.samples[1]["input"], rounded)
