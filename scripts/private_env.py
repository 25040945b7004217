"""Run the runtime contract for runtimes that cannot live in the main environment.

    python scripts/private_env.py tflite_runtime      # needs numpy 1
    python scripts/private_env.py tensorflow          # 600 MB that nothing else here needs

The environment is made in ``build/envs/<runtime>`` at the first run, and again when its list of
packages changes; edgekit itself is imported from this checkout.
"""

import argparse
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVS = ROOT / "build" / "envs"
COMMON = ("click>=8.1", "rich>=13", "pytest>=8")
PACKAGES = {
    "tflite_runtime": ("numpy==1.26.4", "tflite-runtime==2.14.0"),
    "tensorflow": ("numpy>=2", "tensorflow-cpu==2.21.0"),
}


def make(runtime: str) -> Path:
    """Create the environment unless it is complete; return its Python."""
    home = ENVS / runtime
    python = home / "bin" / "python"
    complete = home / "complete.txt"  # written last, so that an interrupted run starts over
    packages = [*PACKAGES[runtime], *COMMON]
    if complete.is_file() and complete.read_text() == "\n".join(packages):
        return python
    print(f"Creating {home.relative_to(ROOT)}.", file=sys.stderr)
    venv.create(home, clear=True, with_pip=True, symlinks=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    complete.write_text("\n".join(packages))
    return python


def main() -> int:
    """Run the contract suite on one runtime; the exit status is pytest's."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runtime", choices=PACKAGES)
    runtime = parser.parse_args().runtime
    suite = "tests/contracts/test_runtimes.py"
    command = [make(runtime), "-m", "pytest", "-q", "--noconftest", suite, "-k", runtime]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
