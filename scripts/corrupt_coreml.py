"""Damage a small Core ML package 1,000 times; the reference runtime must refuse or compute on.

Fails when any run raises something else than EdgekitError, takes over 10 seconds, or needs more
than 2 GiB beyond what the process held at the start.

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
from edgekit.runtimes import open_session
from tests.mil.corruption import corrupt, outcome
from tests.mil.packages import convert, make


class Hung(BaseException):
    """A run took too long; no handler of ordinary errors may swallow it."""


LIMIT_S = 10
LIMIT_BYTES = 2 << 30


def main(count: int) -> int:
    """Run and print the counts; return 1 when a run misbehaved."""
    torch.set_num_threads(1)
    kernels.table()
    signal.signal(signal.SIGALRM, _too_slow)
    seen: collections.Counter[str] = collections.Counter()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        model, inputs = make("convnet")
        sound = convert(model, inputs, Path(folder) / "sound.mlpackage", half=True)
        feeds = {"x": inputs[0].numpy()}
        with open_session(sound, "coreml", runtime="mil") as session:
            want = session.run(feeds)
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + LIMIT_BYTES, held + LIMIT_BYTES))
        for seed in range(count):
            bad = Path(folder) / "bad.mlpackage"
            what = corrupt(sound, bad, seed)
            start = time.monotonic()
            signal.alarm(LIMIT_S)
            try:
                result = outcome(bad, feeds, want)
            except (Exception, Hung) as error:  # noqa: BLE001 - whatever it is, it is counted
                result = f"FAILED with {type(error).__name__}"
                print(what, traceback.format_exc(limit=-3), file=sys.stderr)
            signal.alarm(0)
            seconds = time.monotonic() - start
            if seconds > LIMIT_S:
                result = "FAILED by time"
            slowest = max(slowest, seconds)
            seen[result] += 1
    print(f"{count} damaged packages on {platform.machine()}, slowest {slowest:.2f} s")
    for result, number in sorted(seen.items()):
        print(f"  {result:<12} {number}")
    return int(any(result.startswith("FAILED") for result in seen))


def _too_slow(number: int, frame: FrameType | None) -> None:
    raise Hung(f"signal {number} at line {frame.f_lineno if frame else '?'}")


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
