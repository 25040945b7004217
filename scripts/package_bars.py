"""Time every flavour of package for every sample model, and compare the bytes of a second build.

    python scripts/package_bars.py build/samples

The folder is that of ``scripts/sample_artifacts.py``.  Conversion is not counted; a first package,
which is not counted either, imports what all need.  The second build is made elsewhere, of copies.
The bar is held against the quicker of the two.
"""

import platform
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

from edgekit.packaging import package

ROOT = Path(__file__).resolve().parents[1]
SUFFIXES = (".onnx", ".tflite", ".mlpackage")
BAR_S = 5.0


def packed(name: str, folder: Path, target: Path) -> tuple[dict[str, str], float]:
    """Make all packages of a model; return their sha256 by name, and the seconds."""
    started = time.monotonic()
    made = package([folder / f"{name}{suffix}" for suffix in SUFFIXES], (), target)
    seconds = time.monotonic() - started
    return {each.path.name: each.sha256 for each in made}, seconds


def cpu_seconds() -> float:
    """Return the processor time of this process and of the compilers that it ran."""
    used = [resource.getrusage(each) for each in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def main() -> int:
    """Print a line for each model; fail where bytes differ or a bar is missed."""
    folder = Path(sys.argv[1])
    names = sorted(path.stem for path in folder.glob("*.onnx"))
    print(f"{platform.machine()}, Python {platform.python_version()}")
    failed = 0
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        packed(names[0], folder, work / "warm")
        copies = shutil.copytree(folder, work / "copies")
        for name in names:
            first, seconds = packed(name, folder, work / "first")
            processor = cpu_seconds()
            second, again = packed(name, copies, work / "second")
            own = cpu_seconds() - processor
            same = first == second
            quick = min(seconds, again) <= BAR_S
            failed += not (same and quick)
            print(
                f"{name}: {len(first)} packages in {seconds:.2f} s and {again:.2f} s "
                f"({own:.2f} s of processor time), "
                f"{'same bytes' if same else 'OTHER BYTES'}{'' if quick else ', TOO SLOW'}",
                flush=True,
            )
    return failed


if __name__ == "__main__":
    sys.exit(main())
