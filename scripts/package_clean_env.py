"""Install wheels into environments that hold nothing but their runtime, and run their self-checks.

    python scripts/package_clean_env.py build/out/*.onnx build/out/*.tflite

Also packages each artifact a second time, into another folder, and compares the bytes.  The
environments are made in ``build/envs/wheel_<format>``, with the versions of ``constraints.txt``.
"""

import argparse
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

from edgekit.packaging import package

ROOT = Path(__file__).resolve().parents[1]
ENVS = ROOT / "build" / "envs"
FOREIGN = ("edgekit", "jinja2", "torch", "onnx", "tensorflow")
ALONE = """
import importlib.util, sys
found = [name for name in {foreign!r} if importlib.util.find_spec(name)]
assert not found, found
import {name}
{name}.self_check()
"""


def environment(format_name: str) -> Path:
    """Return the Python of a format's environment, made if need be."""
    home = ENVS / f"wheel_{format_name}"
    if not (home / "bin" / "python").exists():
        venv.create(home, with_pip=True)
    return home / "bin" / "python"


def check(path: Path, folder: Path) -> None:
    """Package one artifact twice, install it, run it, and print what it took."""
    started = time.monotonic()
    (made,) = package([path], ["linux"], folder / "first")
    seconds = time.monotonic() - started
    (again,) = package([path], ["linux"], folder / "second")
    assert made.sha256 == again.sha256, f"{made.path.name} is not reproducible"
    python = environment(path.suffix[1:])
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pip += ["--constraint", ROOT / "constraints.txt", made.path]
    subprocess.run(pip, check=True)  # what the wheel asks for
    subprocess.run([*pip, "--no-deps", "--force-reinstall"], check=True)  # and the wheel, anew
    name = made.path.name.partition("-")[0]
    code = ALONE.format(name=name, foreign=FOREIGN)
    subprocess.run([python, "-I", "-W", "error", "-c", code], cwd=folder, check=True)
    print(f"{path.name}: packaged in {seconds:.2f} s, same bytes twice, self-check passed")


def main() -> int:
    """Check every artifact named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("artifacts", nargs="+", type=Path)
    with tempfile.TemporaryDirectory() as folder:
        for number, path in enumerate(parser.parse_args().artifacts):
            check(path, Path(folder, str(number)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
