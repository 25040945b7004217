"""Check the types of the Swift wrappers with Debian's Swift compiler.

    sudo scripts/board.sh swift             # once: 0.5 GB to fetch, 2.4 GB on disk
    sudo .venv/bin/python scripts/package_swift.py build/samples/*.mlpackage

Core ML, Core Video and Core Graphics are the stubs of ``tests/package/swift_stubs``, written after
Apple's documentation; Foundation is Swift's own for Linux.  Nothing of Apple's is here.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edgekit.packaging import package

ROOT = Path(__file__).resolve().parents[1]
STUBS = ROOT / "tests" / "package" / "swift_stubs"
BOARD = Path(os.environ.get("EDGEKIT_BOARD", ROOT / "build" / "board")) / "swift"
WORK = "tmp/edgekit"
MODULES = ("CoreVideo", "CoreGraphics", "CoreML")
BUNDLE = "import Foundation\nextension Bundle { static let module = Bundle.main }\n"


def swiftc(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the compiler in its own system, whose /proc outlives no call."""
    enter = 'mount -t proc proc "$0/proc" && exec chroot "$0" /usr/bin/swiftc "$@"'
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", enter, BOARD]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp", "LC_ALL": "C"}
    return subprocess.run(
        [*command, *arguments], env=environment, capture_output=True, text=True, check=False
    )


def build_stubs() -> None:
    """Make modules of the stubs."""
    folder = BOARD / WORK
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in MODULES:
        shutil.copy(STUBS / f"{name}.swift", folder)
        place = f"/{WORK}/{name}"
        make = ["-emit-module", "-module-name", name, "-parse-as-library", "-I", f"/{WORK}"]
        done = swiftc(*make, "-o", f"{place}.swiftmodule", f"{place}.swift")
        if done.returncode != 0:
            sys.exit(f"swiftc refuses the stub {name}:\n{done.stderr}")


def check(artifact: Path, folder: Path) -> None:
    """Check the types of one package's sources, and see that a wrong call is refused."""
    (made,) = package([artifact], ["apple"], folder)
    sources = BOARD / WORK / made.path.name
    shutil.copytree(made.path / "Sources" / made.path.name, sources)
    (sources / "Bundle.swift").write_text(BUNDLE)
    names = [f"/{WORK}/{made.path.name}/{path.name}" for path in sorted(sources.glob("*.swift"))]
    started = time.monotonic()
    done = swiftc("-typecheck", "-warnings-as-errors", "-I", f"/{WORK}", *names)
    seconds = time.monotonic() - started
    if done.returncode != 0:
        sys.exit(f"swiftc refuses {made.path.name}:\n{done.stderr}")
    wrapper = sources / f"{made.path.name}.swift"
    wrapper.write_text(wrapper.read_text().replace("model.prediction(from:", "model.predict(from:"))
    assert swiftc("-typecheck", "-I", f"/{WORK}", *names).returncode != 0, (
        "a wrong call is not noticed"
    )
    shutil.rmtree(sources)
    print(f"{artifact.name}: types are right ({seconds:.1f} s), a wrong call is not", flush=True)


def main() -> int:
    """Check every artifact named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("artifacts", nargs="+", type=Path)
    artifacts = parser.parse_args().artifacts
    if not BOARD.is_dir():
        sys.exit("There is no Swift compiler; fetch one: sudo scripts/board.sh swift")
    print(swiftc("--version").stdout.splitlines()[0])
    build_stubs()
    for artifact in artifacts:
        with tempfile.TemporaryDirectory() as folder:
            check(artifact, Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
