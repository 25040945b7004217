"""Training with quantization: the graph that will be quantized, fine-tuned as it will compute.

Batch normalization is folded before, as in any conversion: its statistics stay as they are.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torchao.quantization.pt2e import disable_fake_quant, disable_observer
from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e

from edgekit import passes
from edgekit.exporting import export, to_numpy
from edgekit.plan import in_memory
from edgekit.quantize import saturation
from edgekit.quantize.costs import tensors
from edgekit.quantize.preparation import prepare as prepared
from edgekit.quantize.quantizer import GraphQuantizer
from edgekit.quantize.static import finished
from edgekit.quiet import quiet

if TYPE_CHECKING:
    from edgekit.program import Program
    from edgekit.recipe import Recipe


class TrainableModule(nn.Module):
    """A module that rounds weights and values as its quantized artifact will.

    Call it as the module that it was made of.  A single output comes as a tensor, several as a dict
    by name.  Ranges follow the data that it sees while it is in training mode.
    """

    def __init__(self, program: Program, recipe: Recipe) -> None:
        """Prepare a program for one static recipe."""
        super().__init__()
        self._program, self._recipe = program, recipe
        self._seen = 0
        with quiet():
            module = program.exported.module(check_guards=False)
            self.graph = prepare_pt2e(module, GraphQuantizer(recipe, training=True))
        for parameter in self.graph.parameters():
            parameter.requires_grad_(requires_grad=parameter.is_floating_point())

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute with quantization simulated; gradients pass through the rounding."""
        names = [spec.name for spec in self._program.signature.inputs]
        results = self.graph(**dict(zip(names, args, strict=False)), **kwargs)
        self._seen += self.training
        return next(iter(results.values())) if len(results) == 1 else results

    def train(self, mode: bool = True) -> TrainableModule:
        """Follow the ranges of what comes in, or stop to."""
        self.training = mode  # the exported graph itself has one mode only
        for module in self.graph.modules():
            if hasattr(module, "enable_observer"):
                module.enable_observer(mode)
        return self

    def program(self) -> Program:
        """Return the quantized program: `edgekit.convert` takes it, and this module as well."""
        with quiet():
            whole = copy.deepcopy(self.graph).apply(disable_observer)
            saturation.relieve(whole, self._recipe)
            plain = copy.deepcopy(whole).apply(disable_fake_quant)
        with torch.no_grad():
            outputs = [plain(**tensors(each, self._program)) for each in self._program.samples]
        references = tuple({k: to_numpy(v) for k, v in each.items()} for each in outputs)
        trained = replace(self._program, references=references)
        return finished(whole, trained, self._recipe, "training", self._seen, ())


def prepare(module: nn.Module, example_inputs: Any, recipe: Recipe) -> TrainableModule:
    """Export a module and simulate the quantization of a static recipe in it."""
    made = export(in_memory(copy.deepcopy(module), example_inputs, None))
    exported = passes.run(made.exported)[-1].exported
    prepared(exported, recipe)
    return TrainableModule(replace(made, exported=exported), recipe).train()
