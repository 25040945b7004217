"""Program: what is saved is what comes back, mapped, and its sha256 is its identity."""

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import edgekit
from edgekit import passes, tensorstore
from edgekit import program as programs
from edgekit.errors import ExportError


class Net(nn.Module):
    """Tied weights, buffers of both kinds, a constant, a branch."""

    def __init__(self, constant=3.0, factor=2.0):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(10, 4)
        self.head = nn.Linear(4, 10, bias=False)
        self.head.weight = self.table.weight
        self.mix = nn.Parameter(torch.randn(4, 4))
        self.brief = nn.Parameter(torch.randn(4).bfloat16())
        self.norm = nn.BatchNorm1d(4)
        self.register_buffer("shift", torch.randn(4), persistent=False)
        self.constant = constant
        self.factor = factor

    def forward(self, ids):
        x = self.norm(self.table(ids) @ self.mix) + self.shift + self.brief
        x = x + torch.tensor([1.0, 2.0, self.constant, 4.0])
        factor = self.factor
        x = torch.cond(x.sum() > 0, lambda x: x * factor, lambda x: x - 1.0, (x,))
        return {"logits": self.head(x), "state": x}


IDS = torch.tensor([1, 5, 7])


def saved(path, model=None, example=IDS, **options):
    return edgekit.export(model or Net(), (example,), **options).save(path)


def test_a_round_trip_is_bit_equal(tmp_path):
    first = saved(tmp_path)
    loaded = programs.load(tmp_path)
    assert loaded.sha256 == first.sha256
    assert loaded.signature == first.signature
    assert (loaded.origin, loaded.metadata) == (first.origin, first.metadata)
    assert loaded.parameters == first.parameters == 40 + 16 + 4 + 16
    module = loaded.exported.module()
    for index, sample in enumerate(loaded.samples):
        assert all(np.array_equal(each, first.samples[index][k]) for k, each in sample.items())
        with torch.no_grad():
            outputs = module(**{name: torch.from_numpy(each) for name, each in sample.items()})
        for name, value in outputs.items():
            assert np.array_equal(value.numpy(), first.references[index][name])
            assert np.array_equal(loaded.references[index][name], first.references[index][name])
    names = ("model.table.weight", "model.head.weight")
    tied = [t for n, t in loaded.exported.state_dict.items() if n in names]
    assert len({each.data_ptr() for each in tied}) == 1


def test_weights_stand_once_on_disk_and_nowhere_else(tmp_path):
    saved(tmp_path, nn.Sequential(nn.Linear(512, 512), nn.Linear(512, 512)), torch.ones(1, 512))
    weights = 2 * 4 * (512 * 512 + 512)
    assert 0 <= (tmp_path / "weights.safetensors").stat().st_size - weights < 2048
    rest = sum(f.stat().st_size for f in tmp_path.iterdir() if f.suffix != ".safetensors")
    assert rest < 100_000


def test_weights_are_mapped(tmp_path):
    saved(tmp_path, nn.Linear(1024, 1024), torch.ones(1, 1024))
    loaded = programs.load(tmp_path)
    address = loaded.exported.state_dict["model.weight"].data_ptr()
    for line in Path("/proc/self/maps").read_text().splitlines():
        low, high = (int(each, 16) for each in line.split()[0].split("-"))
        if low <= address < high:
            assert line.endswith("weights.safetensors")
            return
    pytest.fail("the weights lie nowhere in memory")


SCRIPT = """
import sys, json, torch, edgekit
from pathlib import Path
from edgekit import program
def status(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024
model = torch.nn.Sequential(*(torch.nn.Linear(3600, 3600) for _ in range(4)))
with torch.no_grad():
    for each in model.parameters():
        each.fill_(0.5)
made = edgekit.export(model, (torch.ones(1, 3600),))
before = status("VmRSS")
made.save(Path(sys.argv[1]))
print(json.dumps({"before": before, "peak": status("VmHWM")}))
"""


def test_saving_takes_no_second_copy_of_the_weights(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, check=True
    )
    seen = json.loads(done.stdout)
    weights = (tmp_path / "weights.safetensors").stat().st_size
    assert weights > 200e6
    assert seen["peak"] - seen["before"] < 0.4 * weights  # one tensor and torch's own needs
    assert done.stderr == ""


IDENTITY = """
import sys, edgekit
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_program import saved
print(saved(Path(sys.argv[2])).sha256)
"""


def test_the_identity_is_the_same_in_another_process(tmp_path):
    here = saved(tmp_path / "a").sha256
    command = [
        sys.executable,
        "-c",
        IDENTITY,
        str(Path(__file__).parent),
    ]
    done = subprocess.run(
        [*command, str(tmp_path / "b")],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "7", "PATH": ""},
    )
    assert done.stdout.strip() == here


def _bit():
    model = Net()
    model.mix.data.view(torch.int32)[0, 0] ^= 1
    return model


def _shift():
    model = Net()
    model.shift.view(torch.int32)[0] ^= 1
    return model


@pytest.mark.parametrize(
    ("change", "options"),
    [
        (_bit, {}),
        (_shift, {}),
        (lambda: Net(constant=3.0000002), {}),
        (lambda: Net(factor=2.0000001), {}),
        (Net, {"inputs": ["ids:4"]}),
        (Net, {"inputs": ["ids:2..9"]}),
        (Net, {"inputs": ["ids:3:int32"]}),
    ],
    ids=["weight", "buffer", "constant", "branch", "shape", "range", "dtype"],
)
def test_whatever_changes_changes_the_identity(tmp_path, change, options):
    assert saved(tmp_path / "b", change(), **options).sha256 != saved(tmp_path / "a").sha256


def test_one_and_the_same_changes_nothing(tmp_path):
    model = Net()
    assert saved(tmp_path / "a", model).sha256 == saved(tmp_path / "b", model).sha256
    assert (tmp_path / "a/weights.safetensors").read_bytes() == (
        tmp_path / "b/weights.safetensors"
    ).read_bytes()


@pytest.mark.parametrize(
    "dtype",
    [
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
        *(torch.uint16, torch.uint32, torch.uint64),
    ],
)
def test_every_element_type_is_stored(tmp_path, dtype):
    tensors = {
        "a": (torch.arange(6) % 2).to(dtype).reshape(2, 3).T,
        "scalar": torch.ones((), dtype=dtype),
        "empty": torch.ones((0, 3), dtype=dtype),
    }
    tensors["tied"] = tensors["a"]
    tensorstore.write(tmp_path / "w", tensors)
    read = tensorstore.read(tmp_path / "w")
    assert read.keys() == tensors.keys()
    for name, each in tensors.items():
        assert read[name].dtype is dtype
        assert read[name].tolist() == each.tolist()


def test_overlapping_tensors_are_stored_whole(tmp_path):
    base = torch.arange(10.0)
    tensors = {"a": base[:6], "b": base[4:], "c": base[2].expand(3)}
    tensorstore.write(tmp_path / "w", tensors)
    read = tensorstore.read(tmp_path / "w")
    assert all(torch.equal(read[name], each) for name, each in tensors.items())
    assert len(tensorstore.unique(tensors)) == 3


def test_a_type_without_a_name_is_refused(tmp_path):
    with pytest.raises(ExportError, match="'a' is of type complex128"):
        tensorstore.write(tmp_path / "w", {"a": torch.ones(2, dtype=torch.complex128)})


def test_writing_streams(tmp_path):
    tensors = {str(index): torch.ones(1_000_000) for index in range(10)}
    tracemalloc.start()
    tensorstore.write(tmp_path / "w", tensors)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_passes_on_a_copy_leave_the_program_as_it_was():
    program = edgekit.export(Net(), (IDS,))
    before, weights = str(program.exported.graph), dict(program.exported.state_dict)
    rewritten = passes.run(program.copied().exported)[-1].exported
    assert str(rewritten.graph) != before
    assert str(program.exported.graph) == before
    assert list(program.exported.state_dict) == list(weights)
    assert all(program.exported.state_dict[name] is weights[name] for name in weights)
