"""Sizes that vary become ranges in Core ML, and are verified at more than one size."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import edgekit
from edgekit.tensors import Dim
from tests.in_process import convert

pytestmark = pytest.mark.filterwarnings("ignore")


class Tagger(nn.Module):
    """Tokens of any number through attention with a mask, then a recurrent layer."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.attend = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.layer = nn.LSTM(16, 6, batch_first=True, bidirectional=True)

    def forward(self, ids, mask):
        x = self.attend(self.embed(ids), src_key_padding_mask=mask == 0)
        return self.layer(x)[0]


LENGTH = torch.export.Dim("length", min=2, max=32)
IDS, MASK = torch.arange(10)[None], (torch.arange(10) < 7).long()[None]
CASES = {
    "batch": (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)),
        (torch.randn(2, 3, 8, 8),),
        {"input": {0: (1, 8)}},
    ),
    "tokens": (Tagger(), (IDS, MASK), {"ids": {1: LENGTH}, "mask": {1: LENGTH}}),
    "images": (
        nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.GroupNorm(2, 4), nn.Upsample(scale_factor=2)),
        (torch.randn(1, 3, 12, 10),),
        {"input": {2: (8, 64), 3: (8, 64)}},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_size_may_vary(name, tmp_path):
    module, inputs, varying = CASES[name]
    report = convert(
        module.eval(), inputs, formats=["coreml"], output_dir=tmp_path, dynamic_shapes=varying
    )
    result = report.results[0]
    assert result.error is None, result.error.message
    assert result.status == "passed", result.verification.reason
    assert result.verification.samples == 5  # three at the example's sizes, two at others
    for spec in edgekit.inspect(result.artifact.path).signature.inputs:
        for axis, size in varying[spec.name].items():
            low, high = size if isinstance(size, tuple) else (size.min, size.max)
            found = spec.shape[axis]
            assert isinstance(found, Dim)
            assert (found.min, found.max) == (low, high)
    larger = [
        torch.cat([each] * 2, axis)
        for each, axis in zip(inputs, map(next, map(iter, varying.values())), strict=True)
    ]
    feeds = {name: each.numpy() for name, each in zip(varying, larger, strict=True)}
    with edgekit.open(result.artifact) as session, torch.no_grad():
        outputs = session.run(feeds)
        wanted = module(*larger)
    torch.testing.assert_close(torch.from_numpy(outputs["output"]), wanted, rtol=1e-4, atol=1e-5)
