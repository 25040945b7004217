"""Branches, loops, lists and states, in whole programs that coremltools wrote to a package."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgekit.errors import EdgekitError
from edgekit.mil.interpreter import Interpreter
from edgekit.mil.kernels import Context
from edgekit.mil.kernels.control_flow import list_gather, list_read, list_write, make_list
from edgekit.mil.kernels.states import coreml_update_state
from edgekit.wire.mlprogram import read_model

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813
    from coremltools.converters.mil.mil import types

pytestmark = pytest.mark.filterwarnings("ignore")  # coremltools' own


def saved(build: Callable[..., Any], path: Path, *specs: Any, target: Any = None) -> Interpreter:
    """Write a program with coremltools and open it with ours."""
    target = target or ct.target.iOS17
    program = mb.program(input_specs=list(specs), opset_version=target)(build)
    model = ct.convert(
        program, source="milinternal", convert_to="mlprogram", minimum_deployment_target=target,
        compute_precision=ct.precision.FLOAT32, skip_model_load=True,
        pass_pipeline=ct.PassPipeline.EMPTY,
    )  # fmt: skip
    model.save(str(path / "m.mlpackage"))
    found = read_model(path / "m.mlpackage").program
    assert found is not None
    return Interpreter(found)


def vector(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)


def test_cond_runs_one_branch(tmp_path: Path) -> None:
    def build(x, flag):
        positive = mb.greater(x=mb.reduce_sum(x=flag, axes=[0], keep_dims=False), y=0.0)
        return mb.cond(
            pred=positive,
            _true_fn=lambda: mb.add(x=x, y=10.0),
            _false_fn=lambda: mb.mul(x=x, y=2.0),
        )

    program = saved(build, tmp_path, mb.TensorSpec((2,)), mb.TensorSpec((1,)))
    for flag, wanted in ((1.0, [11, 12]), (-1.0, [2, 4])):
        (result,) = program.run({"x": vector(1, 2), "flag": vector(flag)}).values()
        assert result.tolist() == wanted


def test_a_loop_appends_to_a_list(tmp_path: Path) -> None:
    """The example of coremltools' test on the real runtime: [1, 2] * i for i in 0, 1, 2."""

    def build(limit, update):
        def goes_on(i, limit, ls, update):
            return mb.less(x=mb.cast(x=i, dtype="fp32"), y=limit)

        def body(i, limit, ls, update):
            item = mb.mul(x=update, y=mb.cast(x=i, dtype="fp32"))
            return mb.add(x=i, y=1), limit, mb.list_write(ls=ls, index=i, value=item), update

        start = mb.make_list(init_length=1, elem_shape=(2,))
        _, _, ls, _ = mb.while_loop(_cond=goes_on, _body=body, loop_vars=(0, limit, start, update))
        count = mb.list_length(ls=ls)
        return mb.list_gather(ls=ls, indices=mb.range_1d(start=0, end=count, step=1))

    program = saved(build, tmp_path, mb.TensorSpec((1,)), mb.TensorSpec((2,)))
    (result,) = program.run({"limit": vector(3), "update": vector(1, 2)}).values()
    assert result.tolist() == [[0, 0], [1, 2], [2, 4]]
    (result,) = program.run({"limit": vector(0), "update": vector(1, 2)}).values()
    assert result.tolist() == [[0, 0]]


def test_lists_grow_with_zeros(tmp_path: Path) -> None:
    """The example of coremltools' test on the real runtime."""

    def build(a, b):
        ls = mb.make_list(init_length=2, elem_shape=(2,))
        first = mb.list_read(ls=ls, index=0)
        ls = mb.list_write(ls=ls, index=0, value=a)
        ls = mb.list_write(ls=ls, index=4, value=b)
        rows = np.array([[-1, -2], [-4, -5]], np.float32)
        ls = mb.list_scatter(ls=ls, indices=[2, 1], value=rows)
        return first, mb.list_read(ls=ls, index=0), mb.list_gather(ls=ls, indices=[4, 2, 3])

    program = saved(build, tmp_path, mb.TensorSpec((2,)), mb.TensorSpec((2,)))
    results = program.run({"a": vector(1, 3), "b": vector(2, 4)}).values()
    assert [result.tolist() for result in results] == [
        [0, 0], [1, 3], [[2, 4], [-1, -2], [0, 0]],
    ]  # fmt: skip


def test_states_live_from_one_prediction_to_the_next(tmp_path: Path) -> None:
    def build(total, x):
        before = mb.read_state(input=total)
        after = mb.coreml_update_state(state=total, value=mb.add(x=before, y=x))
        return mb.mul(x=before, y=np.float16(1)), mb.mul(x=after, y=np.float16(1))

    specs = (mb.StateTensorSpec((2,), dtype=types.fp16), mb.TensorSpec((2,), dtype=types.fp16))
    program = saved(build, tmp_path, *specs, target=ct.target.iOS18)
    state = program.new_state()
    for before, after in (([0, 0], [1, 2]), ([1, 2], [2, 4])):
        results = program.run({"x": vector(1, 2)}, state=state)
        assert [result.tolist() for result in results.values()] == [before, after]
    assert [tensor.tolist() for tensor in state.values()] == [[2, 4]]


def test_a_list_of_symbolic_shape_learns_it_from_the_first_write() -> None:
    blank = make_list(elem_shape=["is0", torch.tensor(2)], init_length=torch.tensor(2))
    with pytest.raises(EdgekitError, match="before it was written"):
        list_read(ls=blank, index=torch.tensor(1))
    written = list_write(ls=blank, index=torch.tensor(1), value=torch.ones(3, 2))
    assert list_gather(ls=written, indices=torch.tensor([0, 1])).sum((1, 2)).tolist() == [0, 6]


def test_a_list_index_beyond_the_list_is_an_error() -> None:
    ls = make_list(elem_shape=[torch.tensor(2)])
    for index in (1, -1):
        with pytest.raises(EdgekitError, match="outside a list"):
            list_read(ls=ls, index=torch.tensor(index))
    with pytest.raises(EdgekitError, match="outside a list"):
        list_write(ls=ls, index=torch.tensor(-1), value=torch.ones(2))


def test_updating_a_state_in_one_operation() -> None:
    """Only the dialect within coremltools has this form; files spell it write_state, read_state."""
    state = {"total": vector(0, 0)}
    context = Context(lambda index, inputs: inputs, state, (), "CoreML8", "update")
    value = vector(1, 2)
    result = coreml_update_state(state="total", value=value, context=context)
    value += 1  # neither the state nor the result is an alias
    assert result.tolist() == state["total"].tolist() == [1, 2]
