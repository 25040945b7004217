"""Represent complex numbers by pairs of real tensors.

No format has complex tensors throughout.  PyTorch itself knows how to compute with pairs, as its
tensor subclass ``ComplexTensor``; Fourier transforms are added to that (`edgekit.passes.spectra`).
The pass follows the graph and expands whatever reads or gives complex numbers.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edgekit.passes import PassResult
from edgekit.passes.graph import calls, constant, name_of, replace_node, spliced

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram
    from torch.fx import Node

Pairs = dict["Node", tuple["Node", "Node"]]


def run(exported: ExportedProgram) -> PassResult:
    """Expand every operator that complex numbers go into or come from."""
    if not any(map(_is_complex, exported.graph.nodes)):
        return PassResult(exported, 0)
    pairs: Pairs = {}
    done: list[Node] = []
    stores = {**exported.constants, **exported.state_dict}
    names = {spec.arg.name: spec.target for spec in exported.graph_signature.input_specs}
    for node in list(exported.graph.nodes):
        if node.op == "placeholder" and _is_complex(node):
            value = stores[names[node.name]].resolve_conj()
            pairs[node] = (
                constant(exported, value.real, weight=False),
                constant(exported, value.imag, weight=False),
            )
        elif node in calls(exported) and _concerns(node, pairs):
            done += _expanded(exported, node, pairs)
    for node in reversed(done):
        if not node.users:
            exported.graph.erase_node(node)
    exported.graph.eliminate_dead_code()
    return PassResult(exported, len(done))


def _is_complex(node: Node) -> bool:
    return any(getattr(v, "is_complex", bool)() for v in _values(node))


def _values(node: Node) -> list[Any]:
    value = node.meta.get("val")
    return list(value) if isinstance(value, tuple | list) else [value]


def _concerns(node: Node, pairs: Pairs) -> bool:
    return _is_complex(node) or any(each in pairs for each in node.all_input_nodes)


def _expanded(exported: ExportedProgram, node: Node, pairs: Pairs) -> list[Node]:
    """Expand one node; note the pairs that it gives, and return what nothing reads any more."""
    from torch._subclasses.complex_tensor import ComplexTensor
    from torch.utils import _pytree as pytree

    several = isinstance(node.meta["val"], tuple | list)
    complexes: list[bool] = []
    function = _OURS().get(name_of(node), node.target)

    def compute(*args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
        with _transforms():
            found = function(*args, **kwargs)  # type: ignore[operator]
        flat = list(found) if several else [found]
        complexes[:] = [isinstance(each, ComplexTensor) for each in flat]
        parts = [(x.re, x.im) if isinstance(x, ComplexTensor) else x for x in flat]
        return tuple(pytree.tree_leaves(parts))

    rest = iter(spliced(exported, node, compute, pairs, ComplexTensor))
    results: list[Any] = [(next(rest), next(rest)) if each else next(rest) for each in complexes]
    if not several:
        return _given(exported, node, results[0], pairs)
    users = [user for user in node.users if user.target is operator.getitem]
    gone = [each for u in users for each in _given(exported, u, results[u.args[1]], pairs)]  # type: ignore[index]
    return [node, *gone]


def _given(exported: ExportedProgram, node: Node, result: Any, pairs: Pairs) -> list[Node]:
    if isinstance(result, tuple):
        pairs[node] = result
        return [node]
    replace_node(exported, node, result)
    return []


# -- Operators on pairs that PyTorch has no word for -----------------------------------------------


def _OURS() -> dict[str, Callable[..., Any]]:  # noqa: N802 - a table, made once torch is there
    import torch
    from torch._subclasses.complex_tensor import ComplexTensor

    from edgekit.passes import spectra

    def joined(found: Any) -> Any:
        return ComplexTensor(*found) if isinstance(found, tuple) else found

    def polar(size: Tensor, angle: Tensor) -> Any:
        return ComplexTensor(size * angle.cos(), size * angle.sin())

    def centred(x: Tensor, n_fft: int, hop: Any, win: Any, window: Any, *rest: Any) -> Any:
        center, mode, *more = rest
        if center:
            lead = x if x.dim() == 2 else x[None]
            padded = torch.nn.functional.pad(lead[:, None], [n_fft // 2] * 2, mode)[:, 0]
            x = padded if x.dim() == 2 else padded[0]
        return joined(spectra.stft(x, n_fft, hop, win, window, *more))

    return {
        "aten.stft.default": lambda *args, **named: joined(spectra.stft(*args, **named)),
        "aten.stft.center": centred,
        "aten.istft.default": lambda x, *args, **named: spectra.istft((x.re, x.im), *args, **named),
        "aten.polar.default": polar,
        "aten.complex.default": ComplexTensor,
        "aten.view_as_complex.default": lambda x: ComplexTensor(x[..., 0], x[..., 1]),
    }


def _transforms() -> Any:
    """Return a mode in which the transforms that others are composed of are products."""
    import torch
    from torch._subclasses.complex_tensor import ComplexTensor
    from torch.utils._python_dispatch import TorchDispatchMode

    from edgekit.passes import spectra

    aten = torch.ops.aten

    class Transforms(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            del types
            if func is aten._fft_r2c.default:  # noqa: SLF001
                return ComplexTensor(*spectra.real_to_complex(*args))
            if func is aten._fft_c2c.default:  # noqa: SLF001
                return ComplexTensor(
                    *spectra.complex_to_complex((args[0].re, args[0].im), *args[1:])
                )
            if func is aten._fft_c2r.default:  # noqa: SLF001
                return spectra.complex_to_real((args[0].re, args[0].im), *args[1:])
            named = kwargs or {}
            if func is aten._to_copy.default and _becomes_complex(args[0], named):  # noqa: SLF001
                real = args[0].to(named["dtype"].to_real())
                return ComplexTensor(real, torch.zeros_like(real))
            return func(*args, **named)

    return Transforms()  # type: ignore[no-untyped-call]


def _becomes_complex(x: Any, named: dict[str, Any]) -> bool:
    dtype = named.get("dtype")
    return dtype is not None and dtype.is_complex and not x.dtype.is_complex
