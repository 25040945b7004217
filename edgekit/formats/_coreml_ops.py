"""PyTorch operators that coremltools converts from TorchScript but not from torch.export.

A recurrent layer arrives from torch.export as one node with a tuple as its value; coremltools' own
functions expect one name per output.  `_tupled` translates between the two.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

from coremltools.converters.mil.frontend.torch import ops
from coremltools.converters.mil.frontend.torch.torch_op_registry import register_torch_op

_RECURRENT = {  # ATen overload -> (coremltools' function, number of outputs)
    "gru.input": (ops.gru, 2),
    "lstm.input": (ops.lstm, 3),
    "rnn_tanh.input": (ops.rnn_tanh, 2),
    "rnn_relu.input": (ops.rnn_relu, 2),
}


@cache
def register() -> None:
    """Make the operators known to coremltools; a second call does nothing."""
    for kind, (function, outputs) in _RECURRENT.items():
        converter = _tupled(function, outputs)
        converter.__name__ = kind
        register_torch_op(converter, override=True)


def _tupled(function: Callable[..., None], outputs: int) -> Callable[..., None]:
    def convert(context: Any, node: Any) -> None:
        apart = copy.copy(node)
        apart.outputs = [f"{node.name}_{index}" for index in range(outputs)]
        function(context, apart)
        context.add(tuple(context[name] for name in apart.outputs), torch_name=node.name)

    return convert
