"""Keep layers whole while a model is traced.

PyTorch follows a recurrent layer step by step to learn the shape of its result, which makes the
number of steps a constant of the traced model; a transformer layer in evaluation mode becomes one
operator for PyTorch's own kernel, which no converter knows; and a stack of them looks at the values
of its mask, which a traced model has none of yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def layers_kept() -> Iterator[None]:
    """Trace recurrent layers by the shapes they give, transformer layers by their parts."""
    import torch._decomp
    from torch.nn.modules import transformer

    table = torch._decomp.decomposition_table  # noqa: SLF001
    aten, keys = torch.ops.aten, torch._C.DispatchKey  # noqa: SLF001
    shapes: dict[Any, Any] = {aten.lstm.input: _lstm, aten.gru.input: _simple}
    shapes |= {aten.rnn_tanh.input: _simple, aten.rnn_relu.input: _simple}
    before = {operator: (dict(operator.py_kernels), table.get(operator)) for operator in shapes}
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    detect = transformer._detect_is_causal_mask  # noqa: SLF001
    transformer._detect_is_causal_mask = _as_told  # noqa: SLF001
    try:
        for operator, function in shapes.items():
            kernels = {keys.CompositeImplicitAutograd: function, keys.Meta: function}
            _replace(operator, {**before[operator][0], **kernels}, table, function)
        yield
    finally:
        for operator, (kernels, decomposition) in before.items():
            _replace(operator, kernels, table, decomposition)
        torch.backends.mha.set_fastpath_enabled(fast)
        transformer._detect_is_causal_mask = detect  # noqa: SLF001


def _replace(operator: Any, kernels: Any, table: dict[Any, Any], decomposition: Any) -> None:
    """Set what PyTorch's tracing calls in the place of an operator."""
    operator.py_kernels.clear()
    operator.py_kernels.update(kernels)
    operator._dispatch_cache.clear()  # noqa: SLF001
    if decomposition is None:
        table.pop(operator, None)
    else:
        table[operator] = decomposition


def _as_told(
    mask: Tensor | None,  # noqa: ARG001
    is_causal: bool | None = None,
    size: int | None = None,  # noqa: ARG001
) -> bool:
    """Whether the mask is causal: a hint, without which the mask itself is applied."""
    return is_causal is True


def _lstm(x: Tensor, states: Any, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    hidden, cell = states
    return _steps(x, hidden, arguments), hidden.clone(), cell.clone()


def _simple(x: Tensor, state: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
    return _steps(x, state, arguments), state.clone()


def _steps(x: Tensor, state: Tensor, arguments: tuple[Any, ...]) -> Tensor:
    _weights, _biases, _layers, _dropout, _train, bidirectional, _batch_first = arguments
    return x.new_empty((*x.shape[:-1], state.shape[-1] * (2 if bidirectional else 1)))
