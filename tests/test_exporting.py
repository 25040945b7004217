"""Export: names, aliasing, state, dynamic dimensions, and errors that name the user's line."""

import logging
from collections import namedtuple
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.export import Dim

import edgekit
from edgekit.errors import EdgekitError, ExportError, SourceError, UsageError
from edgekit.quiet import quiet

HERE = Path(__file__).name


class Model(nn.Module):
    """A module made of a function, which may hold layers."""

    def __init__(self, function, **layers):
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        return self.function(self, x)


def line_of(mark):
    """Return "file:line" of the line in this file that ends with a mark."""
    lines = Path(__file__).read_text().splitlines()
    return f"{HERE}:{next(i for i, line in enumerate(lines, 1) if line.endswith(mark))}"


def assert_same(program):
    """The program's graph gives exactly the references, and leaves its inputs alone."""
    graph = program.exported.module()
    assert len(program.samples) >= 1
    for sample, reference in zip(program.samples, program.references, strict=True):
        feeds = {
            spec.name: torch.from_numpy(sample[spec.name].copy()).to(
                getattr(torch, spec.dtype.value)
            )
            for spec in program.signature.inputs
        }
        before = {name: tensor.clone() for name, tensor in feeds.items()}
        with torch.no_grad():
            outputs = graph(**feeds)
        assert list(outputs) == list(reference) == [s.name for s in program.signature.outputs]
        for spec, (name, value) in zip(program.signature.outputs, outputs.items(), strict=True):
            assert spec.accepts(tuple(value.shape))
            wide = value.float() if value.dtype is torch.bfloat16 else value
            assert np.array_equal(wide.numpy(), reference[name], equal_nan=True)
        assert all(torch.equal(feeds[name], before[name]) for name in feeds)


def export(function, *args, dynamic_shapes=None, inputs=(), **layers):
    module = function if isinstance(function, nn.Module) else Model(function, **layers)
    program = edgekit.export(module, args or None, inputs=inputs, dynamic_shapes=dynamic_shapes)
    assert_same(program)
    return program


def names(program):
    return [s.name for s in program.signature.inputs], [s.name for s in program.signature.outputs]


X = torch.arange(6.0).reshape(2, 3) / 7 - 0.3


# -- Inputs ----------------------------------------------------------------------------------------


class Many(nn.Module):
    def forward(self, first, batch, *rest, flag=True, scale=None, **more):
        total = first.sum() + batch["image"][0].sum() + sum(each.sum() for each in rest)
        total = total + sum(each.sum() for each in more.values())
        return total if scale is None or not flag else total * scale


def test_every_input_has_a_name_of_its_own():
    args = (X, {"image": [X, 3]}, X, X + 1)
    assert names(export(Many(), *args))[0] == ["first", "batch_image_0", "rest_0", "rest_1"]
    kwargs = {"scale": torch.tensor(2.0), "extra": X, "first": X, "batch": {"image": (X,)}}
    program = edgekit.export(Many(), kwargs)
    assert names(program)[0] == ["first", "batch_image_0", "scale", "extra"]
    assert_same(program)


@pytest.mark.parametrize(
    "name", ["float64", "float16", "bfloat16", "int64", "int32", "int8", "uint8", "bool"]
)
@pytest.mark.parametrize("shape", [(2, 3), (), (0, 3)])
def test_every_element_type_and_shape_goes_in_and_out(name, shape):
    tensor = torch.ones(shape, dtype=getattr(torch, name))
    program = export(lambda _, x: (x.reshape(-1), x.float() * 2), tensor)
    assert program.signature.inputs[0].dtype.value == name
    assert program.signature.outputs[0].dtype.value == name


def test_arrays_and_none_are_taken_as_examples():
    program = edgekit.export(Model(lambda _, x: x + 1), (np.ones((2, 2), np.float32),))
    assert str(program.signature.inputs[0]) == "x: float32[2, 2]"

    class Masked(nn.Module):
        def forward(self, x, mask=None):
            return x if mask is None else x * mask

    assert names(edgekit.export(Masked(), (X, None)))[0] == ["x"]
    both = edgekit.export(Masked(), (X, None), inputs=["mask:2,3"])
    assert names(both)[0] == ["x", "mask"]
    assert both.samples[0]["mask"].min() == 1


def test_one_tensor_given_twice_stays_two_inputs():
    class Two(nn.Module):
        def forward(self, x, y):
            return x - 2 * y

    assert names(export(Two(), X, X))[0] == ["x", "y"]
    assert names(export(Two(), X, X[:]))[0] == ["x", "y"]


@pytest.mark.parametrize(
    ("examples", "words"),
    [
        ((X, 1, 2), "too many positional arguments"),
        ({"y": X}, "missing a required argument: 'x'"),
        ((3,), "None of the example inputs is a tensor"),
    ],
)
def test_examples_that_are_not_forwards(examples, words):
    with pytest.raises(SourceError, match=words):
        edgekit.export(Model(lambda _, x: x), examples)


def test_a_wrong_shape_is_one_sentence_with_shapes_and_the_line():
    with pytest.raises(SourceError) as caught:
        export(lambda m, x: m.layer(x), torch.ones(1, 4), layer=nn.Linear(3, 2))  # a call
    assert "x float32[1, 4]" in caught.value.message
    assert "mat1 and mat2 shapes cannot be multiplied (1x4 and 3x2)" in caught.value.message
    assert line_of("# a call") in caught.value.message


def test_names_that_python_keeps_for_itself_are_changed():
    class Odd(nn.Module):
        def forward(self, batch):
            return {key + "!": value for key, value in batch.items()}

    program = edgekit.export(Odd(), ({"in": X, "größe": X, "2": X},))
    assert all(name.isascii() and name.isidentifier() for side in names(program) for name in side)
    assert_same(program)


# -- Outputs ---------------------------------------------------------------------------------------

Pair = namedtuple("Pair", "mean spread")  # noqa: PYI024 - the untyped kind is what models return


@dataclass
class Found:
    boxes: torch.Tensor
    scores: torch.Tensor | None = None


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda _, x: x * 2, ["output"]),
        (lambda _, x: (x * 2, None, [x + 1]), ["output_0", "output_2_0"]),
        (lambda _, x: {"b": x * 2, "a": {"c": x + 1, "d": None}}, ["b", "a_c"]),
        (lambda _, x: {0: x * 2, "logits/final": x + 1}, ["output_0", "logits_final"]),
        (lambda _, x: Pair(x.mean(), x.std()), ["mean", "spread"]),
        (lambda _, x: Found(x * 2), ["boxes"]),
        (lambda _, x: {"found": [Found(x * 2, x[0])]}, ["found_0_boxes", "found_0_scores"]),
        (lambda _, x: {"x": x * 2}, ["x_2"]),
    ],
)
def test_outputs_keep_their_names(function, expected):
    assert names(export(function, X))[1] == expected


def test_huggingface_outputs_keep_their_keys():
    outputs = pytest.importorskip("transformers.modeling_outputs")
    function = lambda _, x: outputs.BaseModelOutput(last_hidden_state=x * 2)  # noqa: E731
    assert names(export(function, X))[1] == ["last_hidden_state"]


def test_outputs_may_alias_inputs_and_each_other():
    def function(_, x):
        double = x * 2
        return x, x, x.view(-1), double, double, double[0], double.T

    assert names(export(function, X))[1] == [f"output_{i}" for i in range(7)]


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda _, x: (x, 3), "returns a int beside"),
        (lambda _, x: {"a": x, "b": "text"}, "returns a str beside"),
        (lambda _, x: None, "returns no tensor"),
        (lambda _, x: x.to_sparse(), "returns a sparse tensor"),
    ],
)
def test_outputs_that_no_artifact_can_give(function, words):
    with pytest.raises(ExportError, match=words):
        export(function, X)


# -- What the model changes ------------------------------------------------------------------------


def overwrite(_, x):
    x.mul_(2)
    x[0, 0] = 5
    return x + 1, x


def overwrite_view(_, x):
    flat = x.view(-1)
    y = x * 3
    flat.add_(1)
    y.relu_()
    return x * 2, y


@pytest.mark.parametrize("function", [overwrite, overwrite_view])
def test_a_model_may_write_into_its_inputs(function):
    x = X.clone()
    program = export(function, x)
    assert torch.equal(x, X)
    with quiet():
        functional = program.exported.run_decompositions({})
    assert not functional.graph_signature.user_inputs_to_mutate


class Counter(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.register_buffer("count", torch.zeros(1))
        self.plain = torch.zeros(1)
        self.calls = 0
        self.how = how

    def forward(self, x):
        if self.how == "write":
            self.count.add_(1)
        elif self.how == "replace":
            self.count = self.count + 1
        elif self.how == "silent":
            self.count.add_(1)
            return x + 1
        elif self.how == "plain":
            self.plain.add_(1)
        elif self.how == "attribute":
            self.plain = self.plain + 1
        elif self.how == "python":
            self.calls += 1
        elif self.how == "random":
            return x + torch.rand(1)
        elif self.how == "dropout":
            return nn.functional.dropout(x, 0.5, training=True)
        return x + self.count + self.plain + self.calls


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("write", "changes its own tensor 'count'"),
        ("replace", "changes its own tensor 'count'"),
        ("silent", "changes its own tensor 'count'"),
        ("plain", "changes its own tensor 'plain'"),
        ("attribute", "output 'output' differs between two calls"),
        ("python", "output 'output' differs between two calls"),
        ("random", "output 'output' differs between two calls"),
        ("dropout", "output 'output' differs between two calls"),
    ],
)
def test_state_and_chance_are_refused(how, words):
    model = Counter(how)
    with pytest.raises(ExportError, match=words):
        export(model, X)
    assert model.count == 0


def test_a_model_that_keeps_a_note_of_its_last_result_is_fine():
    def function(model, x):
        model.last = x * 2
        return model.last + 1

    export(function, X)


def test_the_module_is_given_back_as_it_came():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(), nn.Linear(3, 2))
    model[1].eval()
    model[3].bias.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    program = export(model, X)
    assert [each.training for each in model] == [True, False, True, True]
    wanted = {n: p.requires_grad for n, p in model.named_parameters()}
    assert wanted.pop("3.bias") is False
    assert all(wanted.values())
    assert all(torch.equal(before[name], each) for name, each in model.state_dict().items())
    assert not any(each.requires_grad for each in program.exported.state_dict.values())
    model.eval()
    assert torch.equal(model(X), torch.from_numpy(program.references[0]["output"]))


# -- Weights ---------------------------------------------------------------------------------------


def test_unused_weights_are_left_out_and_tied_ones_counted_once():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(10, 4)
            self.unused = nn.Linear(100, 100)
            self.norm = nn.BatchNorm1d(4)
            self.head = nn.Linear(4, 10, bias=False)
            self.head.weight = self.table.weight
            self.register_buffer("shift", torch.ones(4), persistent=False)
            self.register_buffer("idle", torch.ones(4), persistent=False)

        def forward(self, ids):
            return self.head(self.norm(self.table(ids)) + self.shift + torch.tensor([1.0, 2, 3, 4]))

    program = export(Net(), torch.tensor([1, 2, 3]))
    assert program.parameters == 40 + 4 * 4
    kept = {name.removeprefix("model.") for name in program.exported.state_dict}
    assert not {"unused.weight", "unused.bias", "norm.num_batches_tracked"} & kept
    assert {"norm.running_mean", "norm.weight"} <= kept
    assert not any("idle" in name for name in program.exported.constants)
    assert_same(program)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_widths(dtype):
    program = export(nn.Linear(3, 2).to(dtype), X.to(dtype))
    assert program.signature.outputs[0].dtype.value == str(dtype).partition(".")[2]


def test_strange_weights():
    base = torch.arange(20.0)
    model = Model(lambda m, x: x @ m.a.T + m.b + m.c)
    model.a = nn.Parameter(base[:6].view(2, 3).T.contiguous().T)  # not contiguous
    model.b = nn.Parameter(base[4:6])  # overlaps
    model.c = nn.Parameter(base[5:6].expand(2))  # one stored value
    assert export(model, X).parameters == 6 + 2 + 2


# -- Dynamic dimensions ----------------------------------------------------------------------------


def test_a_dimension_from_a_spec_reaches_the_outputs():
    layers = {"layer": nn.Linear(3, 2)}
    program = export(
        lambda m, x: (m.layer(x), x.reshape(-1), torch.cat([x, x])),
        torch.ones(1, 3),  # torch takes a size of one for fixed: it must not matter
        inputs=["x:1..8,3"],
        **layers,
    )
    assert str(program.signature) == (
        "(x: float32[batch=1..8, 3]) -> (output_0: float32[batch=1..8, 2], "
        "output_1: float32[3*batch=3..24], output_2: float32[2*batch=2..16, 3])"
    )
    assert {sample["x"].shape[0] for sample in program.samples} == {1, 2, 3}


class Sum(nn.Module):
    def forward(self, x, y):
        return x + y, y.sum(1)


def test_one_name_is_one_dimension():
    program = export(Sum(), torch.ones(1, 3), torch.ones(1, 3), inputs=["x:1..,3", "y:1..,3"])
    x, y = program.signature.inputs
    assert x.shape[0] == y.shape[0] == program.signature.outputs[1].shape[0]
    assert x.shape[0].max is None
    mixed = export(Sum(), X, torch.ones(2, 3), inputs=["x:n=2..4,m=1..9", "y:n=2..4,m=1..9"])
    assert [dim.name for dim in mixed.signature.outputs[0].shape] == ["n", "m"]


@pytest.mark.parametrize(
    "dim",
    [Dim("rows", min=1, max=8), (1, 8), (1,), Dim.AUTO, Dim.DYNAMIC, edgekit.Dim("rows", 1, 8)],
)
def test_dimensions_as_torch_and_python_write_them(dim):
    program = export(nn.Linear(3, 2), X, dynamic_shapes={"input": {0: dim, 1: Dim.STATIC}})
    found = program.signature.inputs[0].shape
    assert isinstance(found[0], edgekit.Dim)
    assert found[1] == 3
    assert program.signature.outputs[0].shape[0] == found[0]


@pytest.mark.parametrize(
    ("function", "specs", "words"),
    [
        (lambda m, x: m.layer(x), ["x:2,1..9"], "x_1 cannot vary, because the model fixes it at 3"),
        (lambda _, x: x.view(2, 3), ["x:1..4,3"], "batch cannot vary, because the model fixes it"),
        (lambda _, x: x + x.T, ["x:a=1..4,b=1..4"], "b and a are always equal"),
    ],
)
def test_a_dimension_that_cannot_vary_is_named_with_the_reason(function, specs, words):
    x = torch.ones(2, 2 if "a=" in specs[0] else 3)
    with pytest.raises(ExportError) as caught:
        export(function, x, inputs=specs, layer=nn.Linear(3, 3))
    assert words in caught.value.message
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    ("dynamic", "inputs", "words"),
    [
        ({"z": {0: (1, 2)}}, [], "no input named 'z'"),
        ({"x": {5: (1, 2)}}, [], "no dimension 5"),
        ({"x": {0: "batch"}}, [], "given as 'batch'"),
        ({"x": {0: 2 * Dim("half")}}, [], "given as "),
        ({"x": {0: Dim("b", max=8)}, "y": {0: Dim("b", max=9)}}, [], "'b' has two ranges"),
        (None, ["z:1..3"], "no input named 'z'"),
        (None, ["x:1..3,3", "y:1..4,3"], "'batch' has two ranges"),
        (None, ["x:2,3", "x:2,3"], "names 'x' twice"),
        (None, ["x:99999999,99999999,99999"], "does not fit into memory"),
    ],
)
def test_dimensions_that_are_not_right(dynamic, inputs, words):
    with pytest.raises((SourceError, UsageError), match=words):
        export(Sum(), X, X, dynamic_shapes=dynamic, inputs=inputs)


# -- torch.export ----------------------------------------------------------------------------------


def test_control_flow_on_values_names_the_line_and_both_reasons():
    def function(_, x):
        if x.sum() > 0:  # a branch
            return x
        return x * 2

    with pytest.raises(ExportError) as caught:
        export(function, X)
    assert line_of("# a branch") in caught.value.message
    assert "non-strict: " in caught.value.message
    assert "strict: " in caught.value.message
    assert isinstance(caught.value.__cause__, ExceptionGroup)
    assert len(caught.value.__cause__.exceptions) == 2


def test_branches_of_torch_cond_are_exported():
    def function(_, x):
        return torch.cond(x.sum() > 0, lambda x: x * 2, lambda x: x - 1, (x,))

    export(function, X)


def test_no_grad_and_autocast_inside_leave_no_trace():
    def function(model, x):
        with torch.no_grad():
            return model.layer(x)

    program = export(function, X, layer=nn.Linear(3, 2))
    assert "wrap_with" not in str(program.exported.graph)


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN])
def test_recurrent_layers_export_without_a_word(kind, capfd, caplog):
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = kind(3, 4, batch_first=True)

        def forward(self, x):
            return self.layer(x)[0]

    with caplog.at_level(logging.DEBUG):
        export(Recurrent(), X[None])  # warnings are errors here
    assert capfd.readouterr() == ("", "")
    assert logging.root.manager.disable == 0


def test_a_refused_export_says_nothing_on_the_terminal(capfd):
    with pytest.raises(EdgekitError):
        export(lambda _, x: x + x.T, torch.ones(2, 2), inputs=["x:a=1..4,b=1..4"])
    assert capfd.readouterr() == ("", "")


def test_a_variation_that_the_model_itself_refuses_is_left_out():
    def function(_, x):
        torch.ops.aten._assert_async.msg(x[0] == 0, "the first must be 0")
        return x * 2

    program = edgekit.export(Model(function), (torch.tensor([0.0, 1, 2]),))
    assert len(program.samples) == len(program.references) == 1
