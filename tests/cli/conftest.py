"""The command line, called in this process (fast) and in one of its own (true)."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from edgekit import cli

MODELS = Path(__file__).parents[1] / "contracts" / "models"


class Ran(NamedTuple):
    """What a command left: its exit code, and what it wrote where."""

    code: int
    out: str
    err: str


@pytest.fixture
def edgekit(capfd):
    """Run a command line in this process."""

    def run(*arguments):
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main([str(each) for each in arguments])
        return Ran(ended.value.code, *capfd.readouterr())

    return run


@pytest.fixture
def shell():
    """Run a command line as a shell does."""

    def run(*arguments, **more):
        done = subprocess.run(
            [sys.executable, "-m", "edgekit", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=120,
            env=os.environ | more.pop("environment", {}),
            **more,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def affine(tmp_path):
    """Return the path of a small ONNX model that edgekit did not make."""
    path = tmp_path / "affine.onnx"
    path.write_bytes((MODELS / "affine.onnx").read_bytes())
    return path
