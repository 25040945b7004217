"""Weights in fewer bits: every recipe in every format that can, on one small model."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import edgekit
from edgekit import lowering, plan, registry, worker
from edgekit import program as programs
from edgekit.errors import ConversionError
from edgekit.quantize import dialects, weights
from edgekit.recipe import load_recipe, recipes

FORMATS = registry.names("formats")
NAMES = [
    name for name, recipe in recipes().items() if recipe.changes_graph and not recipe.is_static
]
EIGHT, FOUR, SPARSE = "weight_only_wi8_afp32", "weight_only_wi4_afp32", "sparse"
# Those that take the same way as another.
ALIKE = ("weight_only_lut6_afp32", "weight_only_wi4b64_afp32", "weight_only_wi4b128_afp32")
QUICK = (*(name for name in NAMES if name not in ALIKE), SPARSE)


def recipe_of(name):
    return load_recipe(name) if name != SPARSE else replace(load_recipe("fp32"), sparsity=0.75)


class Mixed(nn.Module):
    """Each kind of layer with weights; two linear ones that blocks of 128 fit into."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(3, 16, 3, 2), nn.Conv2d(16, 16, 3, groups=16)
        self.wide, self.up = nn.Conv2d(16, 128, 1), nn.ConvTranspose2d(128, 128, 2, 2)
        self.hidden, self.head = nn.Linear(128, 256), nn.Linear(256, 8)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.up(self.wide(torch.relu(self.depthwise(self.stem(image)))))
        return self.head(torch.relu(self.hidden(x.flatten(2).transpose(1, 2))).mean(1))


@pytest.fixture(scope="module")
def mixed():
    torch.manual_seed(0)
    return Mixed().eval()


@pytest.fixture(scope="module")
def picture():
    return torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def saved(mixed, picture, tmp_path_factory):
    """Return the folder of a program, made once for each recipe."""
    made = {}

    def save(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp("program")
            source = plan.in_memory(mixed, (picture,), "mixed")
            lowering.save(source, made[name], recipe=recipe_of(name))
        return made[name]

    return save


@pytest.fixture(scope="module")
def lowered(saved, tmp_path_factory):
    """Return what became of every recipe in a format, and where the files are."""
    folder, done = tmp_path_factory.mktemp("lowered"), {}

    def lower(format_name, names=QUICK):
        if (format_name, names) in done:
            return done[format_name, names], folder
        module = registry.load("formats", format_name)
        made = [name for name in names if not module.supports(recipe_of(name))]
        jobs = {
            name: {
                "folder": str(saved(name)),
                "recipe": recipe_of(name).to_json(),
                "options": {},
                "path": str(folder / f"{name}{module.SUFFIXES[0]}"),
            }
            for name in made
        }
        old = {"coreml": {"ios": 16}, "onnx": {"opset": 20}}.get(format_name)
        if old and FOUR in jobs:
            jobs["old"] = {**jobs[FOUR], "options": old}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
            run = worker.start(folder / f"{format_name}_{len(done)}.log")
            request = {"format_name": format_name, "jobs": jobs}
            outcome = worker.call(run, "lowered:every", request, timeout=600)
        done[format_name, names] = outcome.value
        return outcome.value, folder

    return lower


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in ALIKE)) for n in NAMES]
)
@pytest.mark.parametrize("format_name", FORMATS)
def test_a_format_makes_a_recipe_or_says_why_not(lowered, name, format_name):
    recipe = load_recipe(name)
    reason = registry.load("formats", format_name).supports(recipe)
    is_refused = recipe.activations == "dynamic" if format_name == "coreml" else "lut" in name
    assert bool(reason) is is_refused, reason
    if reason:
        return
    found = lowered(format_name, ALIKE if name in ALIKE else QUICK)[0][name]
    assert found["status"] == "passed", found["reason"]
    parameters = sum(each.numel() for each in Mixed().parameters())
    bits = {"int8": 8, "int4": 4, "lut6": 6, "lut4": 4}[recipe.weights]
    scales = parameters // (recipe.precision.block_size or 10**9) * 4
    assert found["size"] < parameters * bits / 8 + scales + 24_000


@pytest.mark.parametrize("name", NAMES)
def test_the_cost_is_that_of_the_bits(saved, name):
    """Each bit is worth 6 dB; the program's record holds what was measured on it."""
    record = programs.load(saved(name)).quantization
    least = {"int8": 35, "lut6": 20, "int4": 12, "lut4": 12}[load_recipe(name).weights]
    assert least < record.sqnr_db < least + 25
    assert (record.calibration, record.samples) == (None, 0)
    assert "weights alone" in record.told


def test_blocks_fill_a_layer_or_give_way_to_channels_and_it_is_said(saved):
    program = programs.load(saved("weight_only_wi4b64_afp32"))
    found = dialects.with_float_weights(program.exported).values()
    blocks = {tuple(each.data.shape): each.block_size for each in found}
    assert blocks[(256, 128)] == blocks[(8, 256)] == 64
    assert blocks[(16, 3, 3, 3)] is None
    (note,) = program.quantization.notes
    assert note.startswith("4 of 6 layers have one scale per channel")
    assert "stem" in note


@pytest.mark.parametrize(("bits", "least"), [(8, 40), (4, 16)])
@pytest.mark.parametrize("grid", [[8, 1], [8, 4], [1, 1]])
def test_integers_times_scales_are_near_the_weights(bits, least, grid):
    torch.manual_seed(0)
    weight = torch.randn(8, 64)
    data, scale = weights.integers(weight, grid, bits)
    assert list(scale.shape) == grid
    assert data.abs().max() <= 2 ** (bits - 1) - 1
    found = torch.ops.edgekit.integer_weight(data, scale, bits, False)
    error = (found - weight).square().sum() / weight.square().sum()
    assert -10 * torch.log10(error) > least


def test_tables_hold_the_values_that_there_are():
    weight = torch.tensor([-1.0, 0.5, 0.5, 2.0]).repeat(8, 4)
    indices, table = weights.palettized(weight, 16)
    torch.testing.assert_close(torch.ops.edgekit.table_weight(indices, table, 4), weight)


def test_the_smallest_weights_become_zero():
    weight = torch.randn(10, 10, generator=torch.Generator().manual_seed(0))
    pruned = weights.pruned(weight, 0.3)
    gone = pruned == 0
    assert gone.sum() == 30
    assert weight[gone].abs().max() <= weight[~gone].abs().min()
    torch.testing.assert_close(pruned[~gone], weight[~gone])


def test_zeros_are_not_stored_in_core_ml(lowered):
    found = lowered("coreml")[0][SPARSE]
    assert found["status"] == "passed", found["reason"]
    parameters = sum(each.numel() for each in Mixed().parameters())
    assert found["size"] < parameters * (4 / 4 + 1 / 8) + 24_000
    for other in ("onnx", "tflite"):
        assert "zeros" in registry.load("formats", other).supports(recipe_of(SPARSE))


@pytest.mark.parametrize("format_name", FORMATS)
def test_the_formats_hold_the_same_integers(lowered, saved, format_name):
    found = dialects.with_float_weights(programs.load(saved(EIGHT)).exported).values()
    wanted = next(each.data.numpy() for each in found if each.data.shape == (256, 128))
    folder = lowered(format_name)[1]
    (path,) = [
        p
        for p in folder.glob(f"{EIGHT}.*")
        if p.suffix != ".json" and p.suffix in registry.load("formats", format_name).SUFFIXES
    ]
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    content = b"".join(each.read_bytes() for each in files)
    turned = np.ascontiguousarray(wanted.T)  # as ONNX stores what it multiplies by
    assert (turned if format_name == "onnx" else wanted).tobytes() in content


@pytest.mark.parametrize(
    ("format_name", "said"),
    [("coreml", "4-bit weights and blocks"), ("onnx", "from opset 21 on")],
)
def test_an_old_target_is_refused(lowered, format_name, said):
    assert said in lowered(format_name)[0]["old"]["refused"]


def test_nothing_to_quantize_is_said():
    program = edgekit.export(nn.ReLU(), (torch.randn(1, 4),))
    with pytest.raises(ConversionError, match="quantizes nothing"):
        weights.quantized(program, load_recipe(EIGHT))
