"""What every format promises; `edgekit/formats/__init__.py` is the contract's text.

One model with all that borders can have (token ids, an image, several outputs of several types, an
input that comes back as an output) is converted once per recipe; every test reads those artifacts.
"""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import edgekit
from edgekit import formats, program, registry
from edgekit.artifact import open_artifact
from edgekit.errors import ArtifactError, UsageError
from edgekit.recipe import load_recipe
from edgekit.source import Metadata, Source
from edgekit.tensors import Dim, DType
from edgekit.verification import feeds_for, verify_file
from tests import in_process

FORMATS = registry.names("formats")
RECIPES = ("fp32", "fp16")
OPTIONS = {"fp32": {}, "fp16": {"opset": 18, "ios": 17, "layout": "nhwc"}}
METADATA = Metadata(
    "border", "A model with every kind of border.", "A. Nonymous", "1.2", "MIT", ("a", "b")
)


class Border(nn.Module):
    """Two inputs of different types; four outputs, one of them an input again."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(50, 8)
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(16, 5)
        with torch.no_grad():
            self.norm.running_var.fill_(0.5)
            self.norm.running_mean.fill_(0.1)

    def forward(self, token_ids, image):
        seen = torch.relu(self.norm(self.conv(image))).mean((2, 3))
        read = self.embed(token_ids).mean(1)
        logits = self.head(torch.cat([seen, read], 1))
        return {
            "logits": logits,
            "label": logits.argmax(1),
            "features": {"seen": seen, "read": read},
        }


@pytest.fixture(scope="module")
def exported():
    ids = torch.tensor([[3, 17, 49, 0]])
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    made = edgekit.export(Border().eval(), (ids, image))
    return dataclasses.replace(made, metadata=METADATA)


@pytest.fixture(scope="module")
def reports(exported, tmp_path_factory):
    """Return the conversion report of each recipe; one is made by workers, as users have it."""
    folder = tmp_path_factory.mktemp("formats")
    return {
        recipe: (edgekit if recipe == "fp32" else in_process).convert(
            exported,
            formats=FORMATS,
            recipe=recipe,
            output_dir=folder / recipe,
            options=OPTIONS[recipe],
        )
        for recipe in RECIPES
    }


@pytest.fixture(params=[f"{name}-{recipe}" for name in FORMATS for recipe in RECIPES])
def result(request, reports):
    name, recipe = request.param.split("-")
    return next(each for each in reports[recipe].results if each.format == name)


def test_the_artifact_is_verified_within_its_recipe(result):
    assert result.error is None, result.error.message
    assert result.status == "passed", result.verification.reason
    assert result.verification.sqnr_db >= load_recipe(result.artifact.recipe).tolerance.sqnr_db
    assert result.verification.samples == 3


def test_names_and_order_are_the_sources(result):
    signature = result.artifact.signature
    assert [spec.name for spec in signature.inputs] == ["token_ids", "image"]
    assert [spec.name for spec in signature.outputs] == [
        *("logits", "label", "features_seen", "features_read")
    ]
    assert edgekit.inspect(result.artifact.path).signature == dataclasses.replace(
        signature,
        inputs=tuple(map(stored, signature.inputs)),
        outputs=tuple(map(stored, signature.outputs)),
    )


def stored(spec):
    """Return what the file itself can know of a spec."""
    return dataclasses.replace(spec, layout=None, source_dtype=None)


def test_a_changed_element_type_is_on_record(result):
    ids, image = result.artifact.signature.inputs
    assert ids.dtype in (DType.INT64, DType.INT32)
    assert ids.source_dtype is (DType.INT64 if ids.dtype is DType.INT32 else None)
    assert image.dtype is DType.FLOAT32
    sidecar = json.loads(result.artifact.sidecar.read_text())
    assert sidecar["signature"] == result.artifact.signature.to_json()


def test_token_ids_may_be_given_as_int64(result, exported):
    with edgekit.open(result.artifact) as session:
        outputs = session.run(feeds_for(result.artifact.signature, exported.samples[0]))
    assert outputs["label"][0] == exported.references[0]["label"][0]


def test_metadata_is_inside_the_file(result):
    told = " ".join(edgekit.inspect(result.artifact.path).metadata.values())
    for text in (METADATA.description, METADATA.author, METADATA.version):
        assert text in told


def test_half_precision_halves_the_weights(reports):
    for full, half in zip(reports["fp32"].results, reports["fp16"].results, strict=True):
        sizes = [
            sum(edgekit.inspect(each.artifact.path).parameter_bytes.values())
            for each in (full, half)
        ]
        assert sizes[1] < 0.75 * sizes[0]


def test_nothing_of_this_machine_is_in_the_file(result):
    data = b"".join(p.read_bytes() for p in files_of(result.artifact.path))
    assert str(Path(__file__).parent).encode() not in data
    assert b"site-packages" not in data


def test_channels_last_is_on_record(reports):
    made = next(each.artifact for each in reports["fp16"].results if each.format == "tflite")
    assert made.signature.inputs[1].layout == "nhwc"
    assert made.signature.inputs[1].shape == (1, 16, 16, 3)


def test_a_changed_weight_fails(result, exported, tmp_path):
    """Flip bytes in the middle of the weights: verification must see it."""
    copy = tmp_path / result.artifact.path.name
    copy_tree(result.artifact.path, copy)
    half = result.artifact.recipe == "fp16"
    weights = next(path for path in files_of(copy) if find_weight(path.read_bytes(), half=half) > 0)
    data = bytearray(weights.read_bytes())
    place = find_weight(data, half=half)
    data[place : place + 8] = np.ones(
        4 if half else 2, np.float16 if half else np.float32
    ).tobytes()
    weights.write_bytes(data)
    verdict = verify_file(
        copy,
        result.format,
        result.artifact.signature,
        exported.samples,
        exported.references,
        load_recipe(result.artifact.recipe).tolerance,
    )
    assert verdict.status == "failed"
    assert "SQNR" in verdict.reason
    copy_tree(result.artifact.sidecar, tmp_path / result.artifact.sidecar.name)
    with pytest.raises(ArtifactError, match="its contents have changed"):
        open_artifact(copy)


def find_weight(data, *, half):
    """Return where the linear layer's weights lie: they pass unchanged through every converter."""
    torch.manual_seed(0)
    weight = Border().head.weight.detach().numpy()
    needle = weight.astype(np.float16 if half else np.float32)[1, :4].tobytes()
    return bytes(data).find(needle)


def files_of(path):
    return [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]


def copy_tree(source, target):
    shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)


@pytest.mark.parametrize("name", FORMATS)
def test_contract_of_the_module(name):
    module = registry.load("formats", name)
    assert module.SUFFIXES
    assert module.unavailable() is None
    assert all(module.toolchain().values())
    assert module.supports(load_recipe("fp32")) is None
    for option in module.OPTIONS:
        with pytest.raises(UsageError, match=f"--{option.name}"):
            formats.options_for(name, {option.name: "no such choice"})


def test_a_dynamic_batch_stays_dynamic_or_is_refused(tmp_path):
    source = Source(nn.Sequential(nn.Linear(6, 4), nn.Tanh()).eval(), (torch.rand(2, 6),))
    report = in_process.convert(
        source.module,
        source.examples,
        formats=FORMATS,
        output_dir=tmp_path,
        name="batch",
        dynamic_shapes={"input": {0: (1, 8)}},
    )
    for result in report.results:
        if result.format == "tflite":  # whose converter lowers no linear layer of varying batch
            assert result.artifact is None
            assert "may vary" in result.error.message
            assert "--input" in result.error.hint
            continue
        assert result.status == "passed", (result.error, result.verification)
        with edgekit.open(result.artifact) as session:
            for batch in (1, 5, 8):
                x = np.full((batch, 6), 0.5, np.float32)
                assert session.run({"input": x})["output"].shape == (batch, 4)


class Pooled(nn.Module):
    """Tokens of any number; each gives a value, and their mean is classified."""

    def __init__(self):
        super().__init__()
        self.values, self.head = nn.Embedding(50, 8), nn.Linear(8, 3)

    def forward(self, tokens):
        return self.head(self.values(tokens).relu().mean(1)), tokens.sum(1)


def test_one_artifact_holds_every_bucket(tmp_path):
    model = Pooled().eval()
    report = in_process.convert(
        model,
        (torch.zeros(1, 8, dtype=torch.int64),),
        formats=FORMATS,
        output_dir=tmp_path,
        inputs=["tokens:1,length=2..64:int64"],
        buckets=(16, 4, 8),
    )
    for result in report.results:
        assert result.status == "passed", (result.error, result.verification)
        assert result.artifact.signature.inputs[0].shape[1] == Dim("length", 4, 16, (4, 8, 16))
        with edgekit.open(result.artifact) as session:
            for size in (8, 4, 16, 4):
                tokens = np.arange(size)[None]
                scores, total = session.run({"tokens": tokens}).values()
                want, _ = model(torch.from_numpy(tokens))
                np.testing.assert_allclose(scores, want.detach().numpy(), atol=1e-5)
                assert total == tokens.sum()
            if result.format != "onnx":  # which takes any size
                with pytest.raises(UsageError, match=r"shape \[1, 5\]"):
                    session.run({"tokens": np.zeros((1, 5), np.int64)})
    sizes = {result.format: result.artifact.size_bytes for result in report.results}
    assert sizes["tflite"] < 3 * sizes["onnx"]  # the weights are there once


def test_a_saved_program_opens_as_it_was(exported, tmp_path):
    saved = exported.save(tmp_path)
    assert program.load(tmp_path).sha256 == saved.sha256
