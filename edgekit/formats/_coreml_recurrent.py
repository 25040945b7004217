"""GRU layers for Core ML: one loop per layer and direction.

Core ML's own ``gru`` applies the reset gate to the state, PyTorch to the state's product with the
weights; the option that iOS 18 added for it is documented in two ways that exclude each other.
What the inputs give the gates is one product for all steps, outside the loop.
"""

from __future__ import annotations

from typing import Any

from coremltools.converters.mil import Builder as mb  # noqa: N813 - its name in all its examples
from coremltools.converters.mil.frontend.torch import ops


def gru(context: Any, node: Any) -> None:
    """Convert ``aten.gru.input``: a stack of layers, whose value is (all steps, last states)."""
    given = ops._get_inputs(context, node, expected=9)  # noqa: SLF001 - as each of its converters does
    x, state, params = given[:3]
    _has_biases, layers, _dropout, _train, bidirectional, batch_first = (v.val for v in given[3:])
    directions = 2 if bidirectional else 1
    each = len(params) // (layers * directions)
    x = mb.transpose(x=x, perm=[1, 0, 2]) if batch_first else x
    last = []
    for layer in range(layers):
        found = []
        for direction in range(directions):
            place = layer * directions + direction
            begin = state if layers * directions == 1 else _rows(state, place, place + 1)
            weights = params[place * each : (place + 1) * each]
            steps, end = _direction(mb.reverse(x=x, axes=[0]) if direction else x, begin, *weights)
            found.append(mb.reverse(x=steps, axes=[0]) if direction else steps)
            last.append(end)
        x = mb.concat(values=found, axis=2) if bidirectional else found[0]
    steps = mb.transpose(x=x, perm=[1, 0, 2]) if batch_first else x
    ends = mb.concat(values=last, axis=0) if len(last) > 1 else last[0]
    context.add((steps, ends), torch_name=node.name)


def _direction(
    x: Any, begin: Any, into: Any, within: Any, bias: Any = None, inner_bias: Any = None
) -> tuple[Any, Any]:
    """Return the state after each step, and the last one; both with steps as the first axis."""
    units = within.val.shape[1]
    gates = _linear(x, into, bias)
    steps = mb.slice_by_index(x=mb.shape(x=x), begin=[0], end=[1])
    size = mb.slice_by_index(x=mb.shape(x=begin), begin=[1], end=[3])
    unset = mb.fill(shape=mb.concat(values=[steps, size], axis=0), value=0.0)

    def goes_on(step: Any, _states: Any) -> Any:
        return mb.less(x=step, y=steps)

    def one_step(step: Any, states: Any) -> tuple[Any, Any]:
        given = mb.squeeze(x=mb.gather(x=gates, indices=step, axis=0), axes=[0])
        before = mb.squeeze(x=mb.gather(x=states, indices=step, axis=0), axes=[0])
        apart: dict[str, Any] = {"split_sizes": [2 * units, units], "axis": 1}
        x_both, x_new = mb.split(x=given, **apart)
        h_both, h_new = mb.split(x=_linear(before, within, inner_bias), **apart)
        both = mb.sigmoid(x=mb.add(x=x_both, y=h_both))
        reset, keep = mb.split(x=both, num_splits=2, axis=1)
        new = mb.tanh(x=mb.add(x=x_new, y=mb.mul(x=reset, y=h_new)))
        after = mb.add(x=new, y=mb.mul(x=keep, y=mb.sub(x=before, y=new)))
        step = mb.add(x=step, y=1)
        row = mb.expand_dims(x=after, axes=[0])
        return step, mb.scatter(data=states, indices=step, updates=row, mode="update")

    rows = mb.concat(values=[begin, unset], axis=0)
    _, states = mb.while_loop(_cond=goes_on, _body=one_step, loop_vars=([0], rows))
    return _rows(states, 1, None), _rows(states, -1, None)


def _linear(x: Any, weight: Any, bias: Any) -> Any:
    more = {} if bias is None else {"bias": bias.val}
    return mb.linear(x=x, weight=weight.val, **more)


def _rows(x: Any, begin: int, end: int | None) -> Any:
    return mb.slice_by_index(
        x=x,
        begin=[begin, 0, 0],
        end=[end or 0, 0, 0],
        begin_mask=[False, True, True],
        end_mask=[end is None, True, True],
    )
