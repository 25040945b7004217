"""The reference runtime against Core ML itself, where that exists."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgekit import convert, export, metrics
from edgekit.runtimes import open_session
from edgekit.verification import feeds_for

SAMPLES = Path(__file__).parents[2] / "sample_models"
MODELS = sorted(path.stem for path in SAMPLES.glob("*.py") if path.stem != "sample_data")
# Both compute the same program; in float16 they may add in another order and round each sum.
NEAR = {"fp32": 90.0, "fp16": 45.0}

pytestmark = [
    pytest.mark.macos,
    pytest.mark.skipif(sys.platform != "darwin", reason="Core ML itself runs on macOS only"),
]


@pytest.mark.parametrize("recipe", NEAR)
@pytest.mark.parametrize("name", MODELS)
def test_core_ml_computes_what_the_reference_runtime_does(
    name: str, recipe: str, tmp_path: Path
) -> None:
    source = str(SAMPLES / f"{name}.py")
    (result,) = convert(source, formats=["coreml"], recipe=recipe, output_dir=tmp_path).results
    made = result.artifact
    assert made is not None, result.error or result.verification
    samples = export(source).samples
    runs = []
    for runtime in ("coreml", "mil"):
        with open_session(made.path, "coreml", runtime=runtime) as session:
            runs.append([session.run(feeds_for(made.signature, sample)) for sample in samples])
    for real, ours in zip(*runs, strict=True):
        assert real.keys() == ours.keys()
        for output in real:
            assert metrics.compare(real[output], ours[output]).sqnr_db >= NEAR[recipe], output
