"""How long `edgekit --help` takes, against what any command line made with click takes.

python scripts/startup.py            print both medians and their ratio
python scripts/startup.py --check    fail when the ratio is above 2

The two run in turn, so that a busy machine slows both.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = {
    'python -c "import click"': [sys.executable, "-c", "import click"],
    "edgekit --help": [str(Path(sys.executable).with_name("edgekit")), "--help"],
}
BOUND = 2.0


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when the bound is not kept")
    parser.add_argument("--runs", type=int, default=40, help="of each command")
    chosen = parser.parse_args()
    samples: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(chosen.runs):
        for name, command in COMMANDS.items():
            samples[name].append(timed(command))
    medians = {name: statistics.median(taken) for name, taken in samples.items()}
    for name, seconds in medians.items():
        print(f"{seconds * 1e3:7.1f} ms  {name}")
    base, ours = medians.values()
    print(f"{ours / base:7.2f} x   (bound {BOUND:g})")
    return int(chosen.check and ours / base > BOUND)


def timed(command: list[str]) -> float:
    """Return the wall time of one process in seconds."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
