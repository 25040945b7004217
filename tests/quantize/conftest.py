from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edgekit
from edgekit import lowering, plan
from edgekit import program as programs
from edgekit.program import Program
from edgekit.recipe import load_recipe


class Network(nn.Module):
    """Each kind of operator that integer runtimes fuse, move or share a scale for."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6()
        )
        self.depthwise = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.ReLU())
        self.pointwise = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(16, 5)

    def forward(self, image: Tensor) -> Tensor:
        stem = self.stem(image)
        added = stem + self.pointwise(self.depthwise(stem))
        joined = torch.cat([added, nn.functional.max_pool2d(added, 3, 1, 1)], 1)
        return self.head(joined.mean((2, 3)))


class Attention(nn.Module):
    """Gates, attention and activations: what integer runtimes know by a table, or not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.gate = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.query, self.key, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, image: Tensor) -> Tensor:
        x = nn.functional.hardswish(self.stem(image))
        x = x * torch.sigmoid(self.gate(nn.functional.adaptive_avg_pool2d(x, 1)))
        x = nn.functional.interpolate(nn.functional.avg_pool2d(x, 2), scale_factor=2.0)
        tokens = torch.cat([self.token, x.flatten(2).transpose(1, 2)], 1)
        weights = torch.softmax(self.query(tokens) @ self.key(tokens).transpose(1, 2), -1)
        mixed = torch.tanh(weights @ tokens) + nn.functional.gelu(tokens)
        return self.head(mixed.mean(1))


@pytest.fixture(scope="session")
def attention() -> nn.Module:
    torch.manual_seed(0)
    return Attention().eval()


@pytest.fixture(scope="session")
def network() -> nn.Module:
    torch.manual_seed(0)
    model = Network()
    model(torch.randn(64, 3, 16, 16))  # gives batch normalization its statistics
    return model.eval()


@pytest.fixture(scope="session")
def image() -> Tensor:
    return torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def calibration() -> list[dict[str, np.ndarray]]:
    generator = np.random.default_rng(2)
    return [
        {"image": generator.standard_normal((1, 3, 16, 16)).astype(np.float32)} for _ in range(16)
    ]


@pytest.fixture(scope="session")
def saved(network, image, calibration, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("program")
    source = plan.in_memory(network, (image,), "network")
    lowering.save(source, folder, recipe=load_recipe("static_wi8_ai8"), calibration=calibration)
    return folder


@pytest.fixture(scope="session")
def quantized(saved) -> Program:
    return programs.load(saved)


@dataclass(frozen=True)
class Artifacts:
    report: edgekit.ConvertReport

    def __getitem__(self, name: str) -> Path:
        (found,) = [r for r in self.report.results if r.format == name]
        assert found.artifact is not None, found.error or found.verification
        return found.artifact.path

    def verdict(self, name: str) -> edgekit.Verification:
        (found,) = [r for r in self.report.results if r.format == name]
        assert found.verification is not None, found.error
        return found.verification


@pytest.fixture(scope="session")
def artifacts(network, image, calibration, tmp_path_factory) -> Artifacts:
    return Artifacts(
        edgekit.convert(
            network,
            (image,),
            recipe="int8",
            calibration=calibration,
            output_dir=tmp_path_factory.mktemp("int8"),
            name="network",
        )
    )
