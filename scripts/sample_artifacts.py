"""Convert every sample model to every format, in recipe fp32, into one folder.

python scripts/sample_artifacts.py build/samples [FORMAT...]
"""

import sys
from pathlib import Path

import edgekit

SAMPLES = Path(__file__).resolve().parents[1] / "sample_models"
FORMATS = ["onnx", "tflite", "coreml"]


def main() -> int:
    """Convert what is not converted yet; the cache makes the rest quick."""
    folder = Path(sys.argv[1])
    wanted = sys.argv[2:] or FORMATS
    failed = 0
    for path in sorted(SAMPLES.glob("*.py")):
        if "\ndef build(" not in path.read_text(encoding="utf-8"):
            continue
        for result in edgekit.convert(str(path), formats=wanted, output_dir=folder).results:
            print(f"{path.stem}: {result.format} {result.status}, {result.seconds:.1f} s")
            failed += result.status != "passed"
    return failed


if __name__ == "__main__":
    sys.exit(main())
