"""Damage small Core ML packages 1,000 times; the reference runtime must refuse or compute on.

The packages hold convolutions, a transformer, a decoder, a recurrent network and a loop, in turn.
Fails when any run raises something else than EdgekitError, takes over 10 seconds, or raises the
process's resident memory by more than 1 GiB.

    python scripts/corrupt_coreml.py [COUNT]
"""

from __future__ import annotations

import collections
import platform
import resource
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from types import FrameType

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from edgekit.mil import kernels
from edgekit.runtimes import Arrays, open_session
from tests.mil.corruption import corrupt, outcome
from tests.mil.packages import convert, looping, make


class Hung(BaseException):
    """A run took too long; no handler of ordinary errors may swallow it."""


LIMIT_S = 10
LIMIT_BYTES = 1 << 30
BEYOND = 8 << 30  # address space that a run may take before the system refuses it more


def main(count: int) -> int:
    """Run and print the counts; return 1 when a run misbehaved."""
    torch.set_num_threads(1)
    kernels.table()
    signal.signal(signal.SIGALRM, _too_slow)
    seen: collections.Counter[str] = collections.Counter()
    slowest, largest = 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        sound = packages(Path(folder))
        room = _memory("VmSize") + BEYOND
        resource.setrlimit(resource.RLIMIT_AS, (room, room))
        for seed in range(count):
            path, feeds, want = sound[seed % len(sound)]
            bad = Path(folder) / "bad.mlpackage"
            what = f"{path.stem}, {corrupt(path, bad, seed)}"
            result, seconds, grown = attempt(bad, feeds, want, what)
            slowest, largest = max(slowest, seconds), max(largest, grown)
            if grown > LIMIT_BYTES or result.startswith("FAILED"):
                print(f"{what}: {result}, {seconds:.1f} s, {grown >> 20} MiB", file=sys.stderr)
            seen["FAILED by memory" if grown > LIMIT_BYTES else result] += 1
    print(
        f"{count} damaged packages on {platform.machine()}: "
        f"slowest {slowest:.2f} s, most memory {largest / 2**20:.0f} MiB"
    )
    for result, number in sorted(seen.items()):
        print(f"  {result:<12} {number}")
    return int(any(result.startswith("FAILED") for result in seen))


def packages(folder: Path) -> list[tuple[Path, Arrays, Arrays]]:
    """Convert the models; return each package with inputs, and outputs when it is sound."""
    made = []
    for name in ("convnet", "transformer", "upsampler", "recurrent", "loop"):
        path = folder / f"{name}.mlpackage"
        if name == "loop":
            looping(path)
        else:
            model, inputs = make(name)
            convert(model, inputs, path, half=name != "transformer")
        with open_session(path, "coreml", runtime="mil") as session:
            given = [torch.tensor([5.0])] if name == "loop" else inputs
            names = [spec.name for spec in session.signature.inputs]
            feeds = {key: value.numpy() for key, value in zip(names, given, strict=True)}
            made.append((path, feeds, session.run(feeds)))
    return made


def attempt(bad: Path, feeds: Arrays, want: Arrays, what: str) -> tuple[str, float, int]:
    """Open and run one package; return the outcome, the seconds and the bytes that it took."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    held, start = _memory("VmRSS"), time.monotonic()
    signal.alarm(LIMIT_S)
    try:
        result = outcome(bad, feeds, want)
    except (Exception, Hung) as error:  # noqa: BLE001 - whatever it is, it is counted
        result = f"FAILED with {type(error).__name__}"
        print(what, traceback.format_exc(limit=-3), file=sys.stderr)
    signal.alarm(0)
    seconds = time.monotonic() - start
    grown = _memory("VmHWM") - held
    return ("FAILED by time" if seconds > LIMIT_S else result), seconds, grown


def _memory(field: str) -> int:
    """Return a figure of this process's memory, in bytes (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def _too_slow(number: int, frame: FrameType | None) -> None:
    raise Hung(f"signal {number} at line {frame.f_lineno if frame else '?'}")


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
