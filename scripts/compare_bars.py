"""How often `compare` calls an artifact different from itself, and how often it sees 5 %.

    python scripts/compare_bars.py MODEL.tflite           print both rates
    python scripts/compare_bars.py MODEL.tflite --check   fail when a bar is not kept

Three processes take turns: 20 inferences a step, 20 again, and 21, which is a slowdown of exactly
5 % (slowed_agent.py).  Each set of processes serves several comparisons, each with turns of its
own, by the rules of `edgekit compare --interleave`: up to four looks while the verdict is open.
Bars: of 200 comparisons at most 1 % call A different from A; at least 95 % call A + 5 % slower.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from edgekit import device_agent
from edgekit.benchmarks import comparison
from edgekit.benchmarks.job import Warmup, job_for
from edgekit.benchmarks.record import build

SLOWED = str(Path(__file__).with_name("slowed_agent.py"))
RIVALS = [
    {"command": ["env", f"EDGEKIT_STEP={count}", sys.executable, SLOWED]} for count in (20, 20, 21)
]


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--comparisons", type=int, default=200)
    parser.add_argument("--per-set", type=int, default=5, help="comparisons per set of processes")
    parser.add_argument("--rounds", type=int, default=40, help="of turns, per look")
    parser.add_argument("--turn", type=float, default=0.005, help="seconds")
    parser.add_argument("--check", action="store_true")
    chosen = parser.parse_args()
    started = time.monotonic()
    same: Counter[str] = Counter()
    slower: Counter[str] = Counter()
    found = []
    for _ in range(math.ceil(chosen.comparisons / chosen.per_set)):
        for itself, other in measured(chosen):
            same[itself.verdict] += 1
            slower[other.verdict] += 1
            found.append((abs(itself.change), other.change))
    total = len(found)
    wrong = (same["faster"] + same["slower"]) / total
    seen = slower["slower"] / total
    print(
        f"{total} comparisons in {time.monotonic() - started:.0f} s; load {os.getloadavg()[0]:.1f} "
        f"on {os.cpu_count()} cores"
    )
    print(f"A and A:        {dict(same)}; called different: {wrong:.1%} (bar: at most 1 %)")
    print(f"A and A + 5 %:  {dict(slower)}; called slower: {seen:.1%} (bar: at least 95 %)")
    changes = sorted(each for each, _ in found)
    print(f"A and A: 95 % of the changes are within ±{changes[int(0.95 * total) - 1]:.2%}")
    print(f"A and A + 5 %: the median change is {sorted(x for _, x in found)[total // 2]:+.2%}")
    return int(chosen.check and (wrong > 0.01 or seen < 0.95))


def measured(chosen: argparse.Namespace) -> list[tuple[Any, Any]]:
    """Return comparisons of A with A, and of A with A + 5 %, from one set of processes."""
    job = job_for(
        chosen.model, "tflite", "litert", turns=True, warmup=Warmup(0.05, 0.5, 3), placement=False
    ).to_json()
    children: list[Any] = []
    try:
        children += [device_agent.Child({**job, "folder": "."} | extra) for extra in RIVALS]
        cores = device_agent.fastest_cores(device_agent.Probe(), 1)
        for each in children:
            each.stay_on(cores)
        for each in children:
            each.until("ready")
        return [decided(children, job, chosen) for _ in range(chosen.per_set)]
    finally:
        for each in children:
            each.end()


def decided(
    children: list[Any], job: dict[str, Any], chosen: argparse.Namespace
) -> tuple[Any, Any]:
    """Let the processes take turns until both verdicts are there, or there were four looks."""
    taken: list[list[Any]] = [[] for _ in children]
    header = {"path": chosen.model.name, "sha256": "", "job": job, "run_id": "turns"}
    open_ones: dict[int, Any] = {1: None, 2: None}
    for look in range(comparison.LOOKS):
        for session in range(look * chosen.rounds, (look + 1) * chosen.rounds):
            order = range(len(children)) if session % 2 == 0 else reversed(range(len(children)))
            for place in order:
                children[place].ask({"seconds": chosen.turn, "session": session})
                line = children[place].until("samples")
                taken[place].append({"event": "samples", **line})
        records = [build(header, lines) for lines in taken]
        for place, before in open_ones.items():
            if before is None or before.verdict == comparison.UNSTABLE:
                open_ones[place] = comparison.compare(records[0], records[place])
        if all(each.verdict != comparison.UNSTABLE for each in open_ones.values()):
            break
    return open_ones[1], open_ones[2]


if __name__ == "__main__":
    device_agent.say = lambda *_, **__: None  # what children say is not passed on
    sys.exit(main())
