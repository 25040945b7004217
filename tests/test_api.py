"""The public interface, as the documentation fixes it: names, parameters, fields."""

import inspect

import numpy as np
import pytest
import torch

import edgekit
from edgekit import api
from edgekit.errors import UsageError

FIXED = {
    "convert": [
        *("module_or_source", "example_inputs", "formats", "recipe", "calibration", "output_dir"),
        *("name", "dynamic_shapes", "isolate", "jobs"),
    ],
    "benchmark": ["artifact", "target", "runs"],
    "open": ["artifact"],
    "inspect": ["path"],
    "verify": ["artifact", "source", "example_inputs"],
    "export": ["module_or_source", "example_inputs"],
}
X = np.array([[1.0, -2.0, 3.5]], np.float32)


@pytest.mark.parametrize("name", edgekit.__all__)
def test_every_public_name_resolves(name):
    assert getattr(edgekit, name) is not None
    assert name in dir(edgekit)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'konvert'"):
        _ = edgekit.konvert


@pytest.mark.parametrize("verb", FIXED)
def test_positional_parameters_stay_as_they_are(verb):
    parameters = inspect.signature(getattr(api, verb)).parameters.values()
    positional = [each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
    assert positional == FIXED[verb]


class Doubler(torch.nn.Module):
    def forward(self, x):
        return {"doubled": 2 * x}


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """Return a report made of a module in memory."""
    return edgekit.convert(
        Doubler(),
        example_inputs=(torch.from_numpy(X),),
        formats=["onnx"],
        recipe="fp32",
        output_dir=tmp_path_factory.mktemp("out"),
        name="model",
    )


def test_a_report_has_the_fields_that_scripts_read(converted):
    [result] = converted.results
    assert converted.ok
    assert (result.format, result.status, result.error) == ("onnx", "passed", None)
    assert result.seconds > 0
    made = result.artifact
    assert made.path.name == "model.onnx"
    assert made.size_bytes == made.path.stat().st_size
    assert len(made.sha256) == 64
    assert [spec.name for spec in made.signature.inputs] == ["x"]
    assert result.verification.sqnr_db >= 80
    assert result.verification.max_abs <= 1e-6
    assert result.verification.cosine == pytest.approx(1)
    assert result.verification.quantization_sqnr_db is None


@pytest.mark.parametrize("kind", ["artifact", "path", "text"])
def test_an_artifact_is_opened_by_itself_or_by_its_path(converted, kind):
    made = converted.results[0].artifact
    given = {"artifact": made, "path": made.path, "text": str(made.path)}[kind]
    with edgekit.open(given, threads=1) as session:
        np.testing.assert_array_equal(session.run({"x": X})["doubled"], 2 * X)


def test_a_benchmark_keeps_every_sample(converted):
    record = edgekit.benchmark(
        converted.results[0].artifact, target="local", runs=7, warmup_seconds=0
    )
    assert len(record.samples_s) == 7
    assert min(record.samples_s) <= record.median_s <= record.percentile(95)
    assert record.percentile(100) == max(record.samples_s)


def test_inspection_finds_the_sidecar(converted):
    made = converted.results[0].artifact
    found = edgekit.inspect(made.path)
    assert (found.format, found.sha256) == ("onnx", made.sha256)
    assert found.provenance["recipe"] == "fp32"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"formats": []}, "No format is asked for"),
        ({"formats": ["onxx"]}, "no format named 'onxx'"),
        ({"recipe": "fp31"}, "no recipe named 'fp31'"),
        ({"calibration": [()]}, "takes no calibration data"),
        ({"options": {"ios": 17}, "formats": ["onnx"]}, "'ios' belongs to none"),
        ({"inputs": ["x"]}, "--input 'x' is not understood"),
        ({"name": "a/b"}, "is no file name"),
    ],
)
def test_arguments_are_checked_before_anything_runs(tmp_path, arguments, said):
    out = tmp_path / "out"
    with pytest.raises(UsageError, match=said):
        edgekit.convert("absent.py", output_dir=out, **arguments)
    with pytest.raises(UsageError, match="go with a module, not with a source string"):
        edgekit.convert("absent.py", (torch.ones(1),), output_dir=out)
    assert not out.exists()
