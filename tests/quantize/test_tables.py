"""Tables of embeddings in fewer bits: in every recipe and format, alone or shared with a layer."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import nn

import edgekit
from edgekit import formats, registry
from edgekit.hashing import size_of
from edgekit.quantize import calibration, prepare_qat, static, weights
from edgekit.quantize.constants import LOOKUP, weight_of
from edgekit.quantize.fit import ladder, sensitivity
from edgekit.quantize.precisions import base_name
from edgekit.quiet import quiet
from edgekit.recipe import Override, load_recipe
from edgekit.verification import verify_file
from edgekit.wire import onnx, tflite

FORMATS = registry.names("formats")
RECIPES = ("weight_only_wi8_afp32", "weight_only_wi4_afp32", "dynamic_wi8_afp32", "static_wi8_ai8")
# Those that take the same way as another.
ALIKE = [("tflite", RECIPES[0]), ("tflite", RECIPES[2]), ("coreml", RECIPES[1])]
WORDS, WIDTH = 1000, 64
FLOAT = Override(operator="embedding", weights="float32", activations="float32")


class Tagger(nn.Module):
    """Reads words and gives one for each: the head's weights are those of the table."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, width, padding_idx=0)
        self.mix, self.norm = nn.Linear(width, width), nn.LayerNorm(width)
        self.head = nn.Linear(width, WORDS)
        self.head.weight = self.words.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        words = self.words(ids)
        return self.head(self.norm(words + self.mix(words)))


class Twice(nn.Module):
    """Nothing but a table."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, width)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.words(ids) + self.words(ids.flip(1))


@pytest.fixture(scope="module")
def ids():
    return torch.tensor([[5, 0, 999, 17, 5, 300, 1, 0]])


@pytest.fixture(scope="module")
def tagger(ids):
    torch.manual_seed(0)
    return edgekit.export(Tagger().eval(), (ids,))


def made(program, recipe):
    """Quantize an exported program, on its own samples where data is needed."""
    program = program.copied()
    if not recipe.is_static:
        return weights.quantized(program, recipe)
    return static.quantize(program, recipe, calibration.CalibrationData(program.samples, "itself"))


@pytest.fixture(scope="module")
def quantized(tagger):
    return cache(lambda name: made(tagger, load_recipe(name)))


def lowered(program, recipe, format_name, folder):
    """Lower and verify a quantized program; return the verdict and the file."""
    module = registry.load("formats", format_name)
    path = folder / f"model{module.SUFFIXES[0]}"
    options = formats.options_for(format_name, {})
    with quiet():
        signature = module.lower(program.copied(), recipe, options, path)
    given = program.samples, program.references, recipe.tolerance
    return verify_file(path, format_name, signature, *given), path


CASES = [
    pytest.param(format_name, name, marks=[pytest.mark.slow] * ((format_name, name) in ALIKE))
    for format_name in FORMATS
    for name in RECIPES
    if not registry.load("formats", format_name).supports(load_recipe(name))
]


@pytest.mark.parametrize(("format_name", "name"), CASES)
def test_a_table_is_stored_once_and_in_fewer_bits(quantized, tmp_path, format_name, name):
    recipe = load_recipe(name)
    found, path = lowered(quantized(name), recipe, format_name, tmp_path)
    assert found.status == "passed", found.reason
    bits = 4 if recipe.weights == "int4" else 8
    tables = 2 if (bits, format_name) == (4, "onnx") else 1  # it gathers whole bytes
    scales = 16 * WORDS * (2 if bits == 4 else 1)  # for the table, for the head, and its zeros
    assert size_of(path) < (tables * WORDS + WIDTH) * WIDTH * bits / 8 + scales + 18_000


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("weight_only_wi8_afp32", 64),
        pytest.param("weight_only_wi4_afp32", 64, marks=pytest.mark.slow),
        pytest.param("weight_only_wi4_afp32", 33, marks=pytest.mark.slow),  # rows of half bytes
    ],
)
@pytest.mark.parametrize("format_name", ["onnx", "tflite"])
def test_only_the_rows_that_are_read_are_dequantized(ids, tmp_path, format_name, name, width):
    recipe = load_recipe(name)
    program = made(edgekit.export(Twice(width), (ids,)), recipe)
    found, path = lowered(program, recipe, format_name, tmp_path)
    assert found.status == "passed", found.reason
    summary = (onnx if format_name == "onnx" else tflite).summarize(path)
    assert not {"DequantizeLinear", "DEQUANTIZE", "EMBEDDING_LOOKUP"} & summary.ops.keys()
    assert size_of(path) < WORDS * (width + 8) + 20_000


@pytest.mark.parametrize("name", ["weight_only_wi8_afp32", "static_wi8_ai8"])
def test_a_layer_and_a_table_share_integers(quantized, name):
    nodes = [n for n in quantized(name).exported.graph.nodes if weight_of(n) is not None]
    lookup, _, head = nodes
    assert base_name(lookup) == LOOKUP
    assert weights.is_compressed(weight_of(lookup))
    assert weight_of(lookup).args[0] is weight_of(head).args[0]


@pytest.mark.slow
@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("place", ["words", "head"])
def test_a_layer_and_a_table_may_differ(tagger, tmp_path, format_name, place):
    other = Override(layer=place, weights="int8", activations="float32")
    recipe = replace(load_recipe("static_wi8_ai8"), overrides=(other,))
    found, _ = lowered(made(tagger, recipe), recipe, format_name, tmp_path)
    assert found.status == "passed", found.reason


def test_an_override_keeps_a_table_in_float(tagger):
    recipe = replace(load_recipe("static_wi8_ai8"), overrides=(FLOAT,))
    nodes = [n for n in made(tagger, recipe).exported.graph.nodes if weight_of(n) is not None]
    assert [weight_of(node).op for node in nodes] == ["placeholder", *["call_function"] * 2]


def test_a_budget_may_keep_a_table_in_float(tagger):
    recipe = load_recipe("static_wi8_ai8")
    module = tagger.exported.module(check_guards=False)
    layers = {"words": sensitivity.layers(module.graph, recipe)["words"]}
    assert sensitivity.size_of(layers["words"][0]) == (0, WORDS * WIDTH)
    rungs = {"words": [ladder.LADDER[name] for name in ("w8a8", "w8fp32", "fp32")]}
    samples = [{"ids": torch.from_numpy(tagger.samples[0]["ids"])}]
    noises = sensitivity.measure(module, rungs, samples, {}, layers)["words"]
    assert noises["w8a8"] == noises["w8fp32"] > noises["fp32"] == 0


def test_training_rounds_a_table_as_well(ids):
    torch.manual_seed(0)
    trained = prepare_qat(Tagger().eval(), (ids,), "int8")
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.1)
    trained(ids).square().mean().backward()
    optimizer.step()
    graph = trained.eval().program().exported.graph
    (lookup,) = [node for node in graph.nodes if base_name(node) == LOOKUP]
    assert weights.is_compressed(weight_of(lookup))
