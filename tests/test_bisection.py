"""The smallest part of a model that fails: searched for, cut out, kept."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import edgekit
from edgekit import cutting, passes, reproducers
from edgekit.bisection import smallest
from edgekit.recipe import load_recipe


@pytest.mark.parametrize("count", [1, 2, 7, 16])
def test_the_run_of_steps_that_fails_is_found(count):
    for first in range(count):
        for last in range(first, count):
            tried = []

            def fails(steps, needed=range(first, last + 1), tried=tried):
                tried.append(steps)
                return "it fails" if set(needed) <= set(steps) else ""

            assert smallest(fails, count) == range(first, last + 1)
            assert len(tried) <= 2 + 3 * count.bit_length()


def test_what_never_fails_is_not_searched():
    assert smallest(lambda _: "", 9) is None


class Net(nn.Module):
    """Several outputs, an operator with several results, a size, a weight."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([2.0, 3.0]))

    def forward(self, x):
        left, right = (x * self.scale[0]).split(2, dim=1)
        hot = torch.exp(left.relu() + 11.5)
        return torch.log(hot).mean(1), right * self.scale[1] + x.shape[0]


@pytest.fixture(scope="module")
def net():
    made = edgekit.export(Net().eval(), (torch.rand(3, 4),))
    return replace(made, exported=passes.run(made.exported)[-1].exported)


def test_every_part_computes_what_it_computes_in_the_whole(net):
    count = len(cutting.steps(net.exported))
    whole = cutting._values(net.exported, net.samples[0])
    for first in range(count):
        for last in range(first, count):
            part = cutting.cut(net, range(first, last + 1))
            assert len(part.samples) == len(net.samples)
            for name, value in part.samples[0].items():
                np.testing.assert_array_equal(value, whole[name])
            for name, value in part.references[0].items():
                np.testing.assert_allclose(value, whole[name], rtol=1e-6)


@pytest.mark.filterwarnings("ignore")  # coremltools warns of itself, here in our process
def test_an_overflow_is_bisected_to_its_operator(tmp_path):
    report = edgekit.convert(
        Net().eval(),
        (torch.rand(3, 4),),
        formats=["coreml"],
        recipe="fp16",
        output_dir=tmp_path,
        isolate=False,
        bisect=True,
    )
    (result,) = report.results
    found = result.reproducer
    assert result.status == "failed"
    assert len(found.operators) == 1, found.reason
    assert found.operators[0].startswith("aten.exp.default(float32[3, 2])"), found.reason
    assert "test_bisection.py" in found.operators[0]
    assert "overflows float16" in found.reason
    assert {path.name for path in found.path.iterdir()} == {
        *("model.pt2", "inputs.npz", "expected.npz", "reproduce.py", "reproducer.json")
    }
    assert report.to_json()["results"][0]["reproducer"]["path"] == str(found.path)
    again = edgekit.convert(
        str(found.path / "model.pt2"),
        formats=["coreml"],
        recipe="fp16",
        input_data=found.path / "inputs.npz",
        output_dir=tmp_path / "again",
        isolate=False,
    )
    assert again.results[0].status == "failed"


@pytest.mark.slow
@pytest.mark.parametrize("format_name", ["onnx", "tflite"])
def test_the_script_runs_without_edgekit(net, format_name, tmp_path):
    reproducers.write(net, format_name, load_recipe("fp32"), tmp_path / "kept")
    script = tmp_path / "kept" / "reproduce.py"
    done = subprocess.run(
        [sys.executable, script.name],
        cwd=script.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("largest error") == 2
    assert "import edgekit" not in script.read_text()
