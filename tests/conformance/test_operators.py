"""The operator suite: one case of every family here, all of them under the mark ``slow``.

The fast ones stand in one model per format, with all their outputs: one conversion each.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

import edgekit
from edgekit.verification import OutputCheck
from tests.conformance import running
from tests.conformance.expected import FAILURES
from tests.conformance.operators import suite

pytestmark = pytest.mark.filterwarnings("ignore")

ROOT = Path(__file__).parents[2]
FORMATS = ("onnx", "tflite", "coreml")
FAST = (
    "activation/gelu, tanh",
    "activation/hardswish",
    "activation/log_softmax, far values",
    "arithmetic/add, broadcast both ways",
    "arithmetic/add, alpha",
    "arithmetic/fmod",
    "arithmetic/lerp, tensor",
    "arithmetic/remainder",
    "attention/multihead",
    "attention/rotary embedding",
    "attention/sdpa, causal",
    "attention/sdpa, grouped queries",
    "border/buffers",
    "border/nested",
    "border/state: streaming convolution",
    "convolution/conv2d, groups",
    "convolution/conv_transpose2d, doubling",
    "creation/causal mask",
    "indexing/gather",
    "indexing/embedding_bag, mean",
    "indexing/topk",
    "linear/cdist",
    "linear/einsum, ellipsis",
    "linear/matmul, batches broadcast",
    "logic/where, broadcast",
    "loss/cross_entropy, smoothed",
    "normalization/group_norm",
    "normalization/instance_norm, tracked",
    "pointwise/erf",
    "pointwise/round, half to even",
    "pooling/adaptive_avg_pool2d, uneven",
    "pooling/adaptive_max_pool2d, uneven",
    "pooling/avg_pool2d, padding not counted",
    "recurrent/gru",
    "reduction/cumprod",
    "reduction/logsumexp, far values",
    "reduction/std",
    "resizing/bilinear, by a fraction",
    "resizing/nearest, doubled",
    "shape/fold, overlapping",
    "shape/pad, circular",
    "shape/roll, two dims",
    "signal/framed cosine transform",
)


class Together(nn.Module):
    """Many cases as one model: the n-th takes and gives what begins with ``case_n_``."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        built = [suite()[name].build() for name in names]
        self.models = nn.ModuleList(model for model, _ in built)
        self.inputs = {f"case_{n}": list(inputs) for n, (_, inputs) in enumerate(built)}

    def forward(self, cases: dict[str, list[Tensor]]) -> dict[str, object]:
        return {
            key: model(*cases[key]) for key, model in zip(self.inputs, self.models, strict=True)
        }


@pytest.fixture(scope="module", params=FORMATS)
def checks(request, tmp_path_factory) -> list[OutputCheck]:
    """Convert the fast cases to one format; return what verification found."""
    together = Together(FAST)
    program = edgekit.export(together.eval(), (together.inputs,))
    verdict = running.convert(program, request.param, tmp_path_factory.mktemp(request.param))
    assert verdict.outputs, verdict.reason
    return list(verdict.outputs)


@pytest.mark.parametrize("name", FAST)
def test_a_case_of_the_fast_subset(checks: list[OutputCheck], name: str) -> None:
    place = FAST.index(name)
    mine = [each for each in checks if f"{each.name}_".startswith(f"case_{place}_")]
    assert mine
    for check in mine:
        assert check.passed, check.reasons


def test_the_suite_is_as_large_as_it_says() -> None:
    assert len(suite()) >= 800
    assert len({case.family for case in suite().values()}) >= 18


def test_inputs_and_weights_depend_on_the_name_alone() -> None:
    for name in FAST:
        (first, inputs), (second, again) = suite()[name].build(), suite()[name].build()
        assert all(map(torch.equal, inputs, again))
        assert all(map(torch.equal, first.parameters(), second.parameters()))


def test_expected_failures_are_cases() -> None:
    assert set(FAILURES) == set(FORMATS)
    assert {name for each in FAILURES.values() for name in each} <= set(suite())


def test_a_corrupted_reference_is_seen(monkeypatch) -> None:
    """The suite must be able to fail: let one output of a case be expected one percent larger."""
    case = suite()["arithmetic/add"]
    export = edgekit.export

    def corrupted(*arguments):
        program = export(*arguments)
        program.references[1]["output"][:] *= 1.01
        return program

    monkeypatch.setattr(edgekit, "export", corrupted)
    record = running.run(case, "onnx")
    assert record["end"] == "wrong"
    assert "SQNR" in record["reason"]


@pytest.mark.slow
@pytest.mark.parametrize("format_name", FORMATS)
def test_the_whole_suite(format_name: str, tmp_path: Path, monkeypatch) -> None:
    """Every case passes but those expected to fail, and those fail."""
    script = load_script()
    monkeypatch.setattr(script, "BUILD", tmp_path)
    script.run_suite("operators", format_name, script.parse(["operators"]))
    records = script.read(script.results_path("operators", format_name, raw=False))
    assert set(records) == set(suite())
    failed = {n: record["reason"] for n, record in records.items() if record["end"] != "passed"}
    expected = FAILURES[format_name]
    unexpected = {name: reason for name, reason in failed.items() if name not in expected}
    assert not unexpected, json.dumps(unexpected, indent=1)
    assert not set(expected) - set(failed), "these pass now: take them out of expected.py"


def load_script() -> ModuleType:
    """Import scripts/conformance.py, whose name is also this package's."""
    path = ROOT / "scripts" / "conformance.py"
    spec = importlib.util.spec_from_file_location("conformance_script", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
