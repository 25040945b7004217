"""Fixtures that several suites share."""

import os
import sys
from pathlib import Path

import pytest

from edgekit import registry

PLUGINS = Path(__file__).parent / "plugins"

DOUBLER = '''
"""Doubles and negates."""
import torch

class Doubler(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        return {"doubled": x * self.factor, "negated": -x}

def build():
    return Doubler()

def example_inputs():
    return (torch.tensor([[1.0, -2.0, 3.5]]),)
'''


@pytest.fixture(scope="session", autouse=True)
def shared_cache(tmp_path_factory):
    """Keep the user's cache out of it: one cache per run, so that no process repeats another's."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "edgekit-cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKIT_CACHE", str(folder))
        yield folder


@pytest.fixture
def faulty(monkeypatch):
    """Install the format that fails on demand, here and in every process started from here."""
    monkeypatch.setenv("PYTHONPATH", str(PLUGINS), prepend=os.pathsep)
    monkeypatch.setattr(sys, "path", [str(PLUGINS), *sys.path])
    registry._sources.cache_clear()
    yield
    registry._sources.cache_clear()


@pytest.fixture
def doubler(tmp_path):
    """Return the path of a tiny model source with two outputs."""
    path = tmp_path / "doubler.py"
    path.write_text(DOUBLER)
    return path


@pytest.fixture(scope="session")
def program():
    """Return a tiny exported model with two outputs; the same for all tests of a process."""
    import torch

    from edgekit import export

    class Doubler(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = torch.nn.Parameter(torch.tensor(2.0))

        def forward(self, x):
            return {"doubled": x * self.factor, "negated": -x}

    return export(Doubler(), torch.tensor([[1.0, -2.0, 3.5]]))
