"""Layer by layer: values are matched, and the layer whose weights are wrong is named."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from edgekit import export, layers, runtimes
from edgekit.cli.verify import command as verify_command
from edgekit.errors import UnavailableError
from edgekit.layers import LayerReport, Node
from edgekit.matching import Match
from edgekit.program import Program
from edgekit.reports.layers import spoken
from edgekit.tensors import Signature
from tests import in_process

FORMATS = ("onnx", "tflite", "coreml")
SOURCE = '''
import torch
from torch import nn

class Net(nn.Module):
    """A convolutional network with a branch, and layers whose weights lie in a file as they are."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        self.mix = nn.Conv2d(8, 8, 1)
        self.side = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, image):
        x = self.stem(image)
        x = torch.relu(self.mix(x)) + torch.tanh(self.side(x))
        return self.head(x.mean((2, 3)))

def build():
    torch.manual_seed(0)
    return Net()

def example_inputs():
    return (torch.randn(2, 3, 10, 12),)
'''


@dataclass(frozen=True)
class Made:
    """A model, and its artifact in each format."""

    source: Path
    program: Program
    paths: dict[str, Path]
    signatures: dict[str, Signature]

    def compare(self, name: str, path: Path | None = None) -> LayerReport:
        return layers.compare(
            self.program, path or self.paths[name], name, self.signatures[name], 80.0
        )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("layers")
    source = folder / "net.py"
    source.write_text(SOURCE)
    report = in_process.convert(str(source), formats=FORMATS, output_dir=folder / "out")
    artifacts = {each.format: each.artifact for each in report.results}
    return Made(
        source,
        export(str(source)),
        {name: made.path for name, made in artifacts.items()},
        {name: made.signature for name, made in artifacts.items()},
    )


def corrupted(made: Made, name: str, layer: str, folder: Path, factor: float) -> Path:
    """Copy an artifact, the weights of one layer multiplied by `factor`."""
    original = made.paths[name]
    target = folder / original.name
    (shutil.copytree if original.is_dir() else shutil.copyfile)(original, target)
    weight = made.program.exported.state_dict[f"model.{layer}.weight"].numpy()
    changed = 0
    for path in [target] if target.is_file() else target.rglob("*.*"):
        if path.is_file() and weight.tobytes() in (content := path.read_bytes()):
            wrong = (weight * np.float32(factor)).tobytes()
            path.write_bytes(content.replace(weight.tobytes(), wrong))
            changed += 1
    assert changed == 1
    return target


@pytest.mark.parametrize("name", FORMATS)
def test_a_right_artifact_loses_no_layer(made: Made, name: str) -> None:
    report = made.compare(name)
    assert report.lost == ()
    assert {"stem.1", "side", "head"} <= {check.layer for check in report.checks}
    assert all(check.sqnr_db > 100 for check in report.checks)


@pytest.mark.parametrize("layer", ["mix", "side", "head"])
@pytest.mark.parametrize("name", FORMATS)
def test_the_layer_with_wrong_weights_is_named(
    made: Made, name: str, layer: str, tmp_path: Path
) -> None:
    report = made.compare(name, corrupted(made, name, layer, tmp_path, factor=-3.0))
    assert report.lost[0] == layer  # behind it, what is fused with it
    assert len(report.lost) <= 2
    assert {c.layer for c in report.checks if c.sqnr_db > 100} >= {"stem.1"}


@pytest.mark.parametrize("name", FORMATS)
def test_a_small_error_is_found_by_content(made: Made, name: str, tmp_path: Path) -> None:
    report = made.compare(name, corrupted(made, name, "mix", tmp_path, factor=1.003))
    assert report.lost[0] == "mix"
    assert 30 < min(check.sqnr_db for check in report.checks) < 70


@pytest.mark.slow
def test_the_command_names_the_layer(made: Made, tmp_path: Path) -> None:
    bad = corrupted(made, "onnx", "side", tmp_path, factor=0.5)
    given = [str(bad), str(made.source), "--recipe", "fp32", "--layers"]
    said = CliRunner().invoke(verify_command, given)
    assert said.exit_code == 3
    assert "First below 80 dB: side" in said.stdout
    data = json.loads(CliRunner().invoke(verify_command, [*given, "--json"]).stdout)
    assert data["status"] == "failed"
    assert data["layers"]["lost"] == ["side"]


def test_a_runtime_that_shows_nothing_says_so(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes.Session, "intermediates", lambda self: None)
    with pytest.raises(UnavailableError, match="onnxruntime does not show what lies between"):
        made.compare("onnx")


def test_a_report_survives_json(made: Made) -> None:
    report = made.compare("onnx")
    assert LayerReport.from_json(json.loads(json.dumps(report.to_json()))) == report


# -- Judging ---------------------------------------------------------------------------------------

GRAPH = {
    "conv": Node("model.a", ()),
    "relu": Node("model.b", ("conv",)),
    "left": Node("model.c", ("relu",)),
    "right": Node("model.d", ("relu",)),
    "sum": Node("model", ("left", "right")),
}


def lost(**sqnr_db: float) -> list[str]:
    matches = {name: Match(name, value) for name, value in sqnr_db.items()}
    return layers._first_lost(GRAPH, matches, ["sum"], 80.0)


def test_what_is_fused_is_named_with_the_first_wrong_value() -> None:
    assert lost(relu=50, left=50, right=50, sum=50) == ["conv", "relu"]


def test_the_other_branch_is_innocent() -> None:
    assert lost(relu=120, left=110, right=10, sum=20) == ["right"]


def test_nothing_is_lost_when_the_outputs_are_right() -> None:
    assert lost(relu=120, left=30, right=120, sum=120) == []


def test_a_match_by_name_falls_when_all_that_follows_is_right() -> None:
    matches = {"conv": Match("x", 3.0), "relu": Match("relu", 120.0), "sum": Match("y", 10.0)}
    assert set(layers._pruned(GRAPH, matches, {"sum"}, 80.0)) == {"relu", "sum"}


def test_an_operation_between_layers_is_named_itself() -> None:
    assert list(layers.labels(GRAPH).values()) == ["a", "b", "c", "d", "sum"]
    nested = {"add": Node("model.block", ()), "conv": Node("model.block.conv", ())}
    assert layers.labels(nested) == {"add": "block (add)", "conv": "block.conv"}


@pytest.mark.parametrize(
    ("lost", "text"),
    [(("a",), "a"), (("a", "b"), "b (with a before it)"), (tuple("abcd"), "between a and d")],
)
def test_how_it_is_said(lost: tuple[str, ...], text: str) -> None:
    assert spoken(LayerReport("", 0, 80.0, (), 0, lost)) == text


def test_layers_of_a_module_that_is_used_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(self.layer(x))

    program = export(Twice(), torch.ones(1, 4))
    assert set(layers.layers_of(program.exported).values()) == {"layer"}
