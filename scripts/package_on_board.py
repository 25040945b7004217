"""Install Debian packages on the emulated arm64 board, run their self-checks, and remove them.

    sudo scripts/board.sh make
    sudo .venv/bin/python scripts/package_on_board.py build/out/*.onnx build/out/*.tflite

The board is that of ``scripts/board.sh``; its times are those of an emulator.
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
BOARD = Path(os.environ.get("EDGEKIT_BOARD", ROOT / "build" / "board")) / "arm64"


def on_board(*command: str) -> tuple[str, float]:
    """Run a command on the board; return what it says and the seconds that it took."""
    started = time.monotonic()
    done = subprocess.run(
        [ROOT / "scripts" / "board.sh", "run", *command],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed on the board:\n{done.stdout}{done.stderr}")
    return done.stdout.strip(), time.monotonic() - started


def check(artifact: Path, folder: Path) -> None:
    """Take one artifact through package, install, self-check and removal."""
    (made,) = package([artifact], ["deb"], folder)
    shutil.copy(made.path, BOARD / "tmp")
    dashed, name = (
        made.path.name.partition("_")[0],
        made.path.name.partition("_")[0].replace("-", "_"),
    )
    _, installing = on_board("dpkg", "--install", f"/tmp/{made.path.name}")
    said, checking = on_board("python3", "-B", "-m", name)
    _, removing = on_board("dpkg", "--purge", dashed)
    (BOARD / "tmp" / made.path.name).unlink()
    left = BOARD / "usr/lib/python3/dist-packages" / name
    assert not left.exists(), f"{left} is left after removal"
    print(
        f"{artifact.name}: {said}; installed in {installing:.1f} s, checked in {checking:.1f} s, "
        f"removed in {removing:.1f} s"
    )


def main() -> int:
    """Check every artifact named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("artifacts", nargs="+", type=Path)
    artifacts = parser.parse_args().artifacts
    if not BOARD.is_dir():
        sys.exit("There is no board; make one: sudo scripts/board.sh make")
    said, _ = on_board("sh", "-c", "uname -m; cat /etc/debian_version; python3 --version")
    print("board:", *said.split())
    with tempfile.TemporaryDirectory() as folder:
        for number, artifact in enumerate(artifacts):
            check(artifact, Path(folder, str(number)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
