"""A machine that fails: full disks, unreadable and unwritable places.  One sentence, nothing left.

Disks are really full: each test mounts a small one, where it may.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MEBI = 2**20
BIG = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(1000, 1000)
    def forward(self, x):
        return self.fc(x)
build = Net
def example_inputs():
    return (torch.ones(1, 1000),)
"""  # 4 MB of weights


@pytest.fixture
def big(tmp_path):
    path = tmp_path / "big.py"
    path.write_text(BIG)
    return path


@pytest.fixture
def disk(tmp_path):
    """Return a function that mounts a file system of so many bytes."""
    mounted = []

    def mount(size):
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        tool = shutil.which("mount")
        command = [tool, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
        done = tool and subprocess.run(command, capture_output=True, text=True, check=False)
        if not done or done.returncode:
            pytest.skip(
                f"no file system may be mounted here: {done.stderr if done else 'no mount'}"
            )
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", str(place)], check=True)


def edgekit(*arguments, cache):
    """Run the command; return its exit code, its words, and how many of its processes are left."""
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        env=os.environ | {"EDGEKIT_CACHE": str(cache)},
    )
    assert "Traceback" not in done.stderr
    assert processes_with(str(cache)) == 0
    assert list((cache / "work").glob("*")) == []
    return done.returncode, done.stderr


def processes_with(text):
    found = 0
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += text.encode() in file.read_bytes()
        except OSError:
            continue
    return found


def test_the_disk_of_the_cache_is_full_when_the_program_is_saved(faulty, big, disk, tmp_path):
    code, said = edgekit(
        "convert", big, "--to", "faulty_format", "-o", tmp_path / "out", cache=disk(2 * MEBI)
    )
    assert code == 1
    assert "disk is full" in said
    assert "EDGEKIT_CACHE" in said
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    "format_name",
    ["onnx", *(pytest.param(name, marks=pytest.mark.slow) for name in ("tflite", "coreml"))],
)
def test_the_disk_of_the_output_is_full_when_the_format_is_written(
    big, disk, tmp_path, format_name
):
    out = disk(2 * MEBI)
    code, said = edgekit("convert", big, "--to", format_name, "-o", out, cache=tmp_path / "cache")
    assert code == 1
    assert "disk is full" in said
    assert "-o" in said
    assert list(out.iterdir()) == []


def test_the_disk_of_the_output_is_full_when_a_cached_artifact_is_delivered(big, disk, tmp_path):
    cache, roomy, out = tmp_path / "cache", tmp_path / "roomy", disk(2 * MEBI)
    convert = ("convert", big, "--to", "onnx", "-o")
    assert edgekit(*convert, roomy, cache=cache) == (0, "")
    code, said = edgekit(*convert, out, cache=cache)
    assert code == 1
    assert "disk is full" in said
    assert list(out.iterdir()) == []


def test_a_full_cache_keeps_nothing_and_harms_nothing(big, disk, tmp_path):
    """There is room for the program, but not for it and the artifact."""
    cache, out = disk(7 * MEBI), tmp_path / "out"
    assert edgekit("convert", big, "--to", "onnx", "-o", out, cache=cache) == (0, "")
    assert sorted(path.name for path in out.iterdir()) == ["big.onnx", "big.onnx.json"]
    assert list((cache / "artifacts").iterdir()) == []


@pytest.mark.parametrize("which", ["source", "weights"])
def test_a_file_that_may_not_be_read_is_named(faulty, big, tmp_path, which):
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"x")
    unreadable = big if which == "source" else weights
    unreadable.chmod(0)
    if os.access(unreadable, os.R_OK):
        unreadable.unlink()
        unreadable.symlink_to("/proc/self/mem")  # which nobody reads from its beginning
    code, said = edgekit(
        *("convert", big, "--to", "faulty_format", "-o", tmp_path / "out"),
        *(("--weights", weights) if which == "weights" else ()),
        cache=tmp_path / "cache",
    )
    assert code == 1
    assert unreadable.name in said
    assert "cannot be read" in said
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("place", ["file", "file/out", "/proc/out"])
def test_an_output_folder_that_cannot_be_is_named(big, tmp_path, place):
    (tmp_path / "file").touch()
    code, said = edgekit(
        "convert", big, "--to", "onnx", "-o", tmp_path / place, cache=tmp_path / "cache"
    )
    assert code == 2
    assert f"{tmp_path / place} cannot be written" in said
    assert "--output" in said
