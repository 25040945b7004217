"""What coremltools 9.0 loses of a PyTorch operator on its way from torch.export, and edgekit keeps.

All operators stand in one model with one output each: one conversion, and a failure names its own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import edgekit
from edgekit.formats import coreml
from edgekit.recipe import load_recipe
from edgekit.verification import Verification, verify_file

pytestmark = pytest.mark.filterwarnings("ignore")

OPERATORS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "gelu_exact": functional.gelu,
    "add_alpha": lambda x: torch.add(x, x * x, alpha=3),
    "sub_alpha": lambda x: torch.sub(x, x * x, alpha=2),
    "rsub_alpha": lambda x: torch.rsub(x, x * x, alpha=2),
    "rsub_number": lambda x: 3 - x,
    "softplus_low_threshold": lambda x: functional.softplus(x, 1.0, 1.0),
    "softplus_beta": lambda x: functional.softplus(x, 3.0, 5.0),
    "softplus_default": functional.softplus,
    "log_softmax_of_far_values": lambda x: functional.log_softmax(x * 20, -1),
    "rms_norm": nn.RMSNorm(8, eps=0.3),
    "rms_norm_of_small_values": lambda x: functional.rms_norm(x * 1e-3, (8,), eps=1e-6),
    "rms_norm_default_eps": lambda x: functional.rms_norm(x * 1e-3, (8,), torch.full((8,), 2.0)),
    "std_of_all": lambda x: x.std(),
    "std_correction": lambda x: x.std(-1, correction=2),
    "var_of_all": lambda x: x.var(),
    "var_population": lambda x: x.var(-1, correction=0, keepdim=True),
    "reciprocal_of_small_values": lambda x: 1 / (x * 1e-3),
    "clamp_integers_from_below": lambda x: (x * 4).to(torch.int32).clamp(min=-2),
    "clamp_integers_from_above": lambda x: (x * 4).to(torch.int32).clamp(max=3),
    "clamp_both": lambda x: x.clamp(0, 1),
    "clamp_at_zero": lambda x: x.clamp(max=0.0),
    "elu": lambda x: functional.elu(x, 0.3),
    "leaky_relu": lambda x: functional.leaky_relu(x, 0.3),
    "hardtanh": lambda x: functional.hardtanh(x, -0.3, 0.7),
    "threshold": lambda x: functional.threshold(x, 0.5, -3.0),
    "layer_norm_eps": lambda x: functional.layer_norm(x, (8,), eps=0.5),
    "addmm": lambda x: torch.addmm(x[:, :3], x, x.T[:, :3], beta=0.5, alpha=2.0),
    "div_floor": lambda x: torch.div(x, 0.7, rounding_mode="floor"),
    "div_trunc": lambda x: torch.div(x, 0.7, rounding_mode="trunc"),
}


class Everything(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {name: operator(x) for name, operator in OPERATORS.items()}


def verified(model: nn.Module, folder: Path, recipe: str = "fp32", **inputs: Any) -> Verification:
    program = edgekit.export(model.eval(), tuple(inputs.values()))
    chosen, path = load_recipe(recipe), folder / "m.mlpackage"
    signature = coreml.lower(program, chosen, {"ios": 15}, path)
    samples, references = program.samples, program.references
    return verify_file(path, "coreml", signature, samples, references, chosen.tolerance)


@pytest.fixture(scope="module")
def verdict(tmp_path_factory: pytest.TempPathFactory) -> Verification:
    torch.manual_seed(5)
    return verified(Everything(), tmp_path_factory.mktemp("all"), x=3 * torch.randn(8, 8))


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_keeps_its_arguments(verdict: Verification, name: str) -> None:
    (check,) = (check for check in verdict.outputs if check.name == name)
    assert check.passed, check.reasons
    assert check.sqnr_db >= 110


def test_rms_norm_does_not_overflow_float16(tmp_path: Path) -> None:
    found = verified(nn.RMSNorm(8), tmp_path, "fp16", x=1000 * torch.randn(4, 8))
    assert found.status == "passed", found.reason


def test_division_is_not_multiplication_with_a_rounded_inverse(tmp_path: Path) -> None:
    class Deep(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            for _ in range(12):
                x = x / 6 * 3 / 3 * 6
            return x

    found = verified(Deep(), tmp_path, "fp16", x=torch.randn(4, 8))
    assert found.status == "passed", found.reason
    assert found.float32_sqnr_db is not None
    assert found.float32_sqnr_db > 110  # every constant is a float16


def test_antialiasing_is_not_left_out(tmp_path: Path) -> None:
    class Shrink(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return functional.interpolate(x, size=(3, 4), mode="bilinear", antialias=True)

    found = verified(Shrink(), tmp_path, x=torch.randn(1, 2, 6, 8))
    assert found.status == "passed", found.reason
