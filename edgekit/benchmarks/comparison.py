"""Compare two benchmarks: is the second faster, slower, or the same, and how sure is that?

The best evidence are sessions taken in turns (`interleaved`): A B, B A, A B, ... in one pair of
processes after the other, on the same cores.  Whatever slows the machine for a while slows both of
a round, so that the ratio within a round hardly changes.  Two records of different times are
compared as well, but
what changed on the machine between them is in the difference: it has to be larger to count.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgekit.benchmarks import statistics
from edgekit.benchmarks.record import BenchmarkRecord
from edgekit.benchmarks.statistics import Interval
from edgekit.errors import UsageError
from edgekit.text import printable

FASTER, SLOWER, SAME, UNSTABLE = "faster", "slower", "same", "unstable"
CONFIDENCE = 0.99
# Turns go on while the verdict is open, and each look could err: 0.25 % of four are 1 % in all.
LOOKS = 4
CONFIDENCE_OF_A_LOOK = 1 - (1 - CONFIDENCE) / LOOKS
# Two processes that run the same file differ by where their memory happens to lie.
# `scripts/compare_bars.py` measures how often these margins call an artifact different from itself.
MARGIN = 0.02  # between sessions taken in turns
MARGIN_APART = 0.05  # between records of different times
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Comparison:
    """What two benchmarks say of each other.

    Attributes:
        first: File of the one that is compared with.
        second: File of the one in question.
        verdict: Of the second: ``faster``, ``slower``, ``same``, or ``unstable``: not to be told.
        reason: What the verdict rests on, in words.
        hint: What to change where it is unstable; None otherwise.
        change: Relative change of the median from the first to the second; 0.05: 5 % slower.
        low: Lower end of the change's interval.
        high: Upper end.
        confidence: Of that interval.
        margin: Changes below it count as none.
        effect: Cliff's delta, -1 to 1: how often a sample of the second is the slower one.
        rounds: Pairs of sessions that were compared; 0: the records were taken apart.
        first_median_s: Median latency.
        second_median_s: Median latency.
    """

    first: str
    second: str
    verdict: str
    reason: str
    hint: str | None
    change: float
    low: float
    high: float
    confidence: float
    margin: float
    effect: float
    rounds: int
    first_median_s: float
    second_median_s: float

    def to_json(self) -> dict[str, Any]:
        """Return plain data; an end of the interval that is not known is null."""
        plain = asdict(self)
        ends = {end: plain[end] if math.isfinite(plain[end]) else None for end in ("low", "high")}
        return {"schema_version": SCHEMA_VERSION, **plain, **ends}


def compare(
    first: BenchmarkRecord,
    second: BenchmarkRecord,
    *,
    margin: float | None = None,
    confidence: float | None = None,
) -> Comparison:
    """Compare two records.

    Args:
        first: The one to compare with.
        second: The one in question.
        margin: Changes below it count as none; None: 2 % in turns, 5 % apart.
        confidence: How sure the verdicts faster and slower have to be; None: 99 %, over all looks.

    Raises:
        UsageError: one has no samples, or they measure different things.
    """
    _check(first, second)
    rounds = _rounds(first, second)
    if confidence is None:
        confidence = CONFIDENCE_OF_A_LOOK if rounds else CONFIDENCE
    if rounds:
        interval = statistics.paired_interval(list(rounds.values()), confidence)
        least = MARGIN if margin is None else margin
        doubts = ""
    else:
        interval = statistics.ratio_interval(first.samples_s, second.samples_s, confidence)
        least = MARGIN_APART if margin is None else margin
        doubts = _doubts(first, second)
    change = Interval(*map(_relative, (interval.estimate, interval.low, interval.high)))
    verdict, reason, hint = _verdict(change, least, doubts, rounds=len(rounds))
    return Comparison(
        str(first.path),
        str(second.path),
        verdict,
        reason,
        hint,
        change.estimate,
        change.low,
        change.high,
        confidence,
        least,
        statistics.cliffs_delta(first.samples_s, second.samples_s),
        len(rounds),
        first.median_s,
        second.median_s,
    )


def _relative(log: float) -> float:
    """Return the relative change that a logarithm of a ratio means; what is not known stays so."""
    return math.expm1(log) if math.isfinite(log) else log


def _check(first: BenchmarkRecord, second: BenchmarkRecord) -> None:
    for each in (first, second):
        if each.emulator:
            raise UsageError(
                f"{each.path} was measured on {printable(each.emulator)}, not on a device: its "
                "times say nothing of one, not even which is less.",
                "Measure both on a real device.",
            )
        if each.estimate:
            raise UsageError(f"{each.path} is a compiler's estimate: nothing ran.")
        if not each.samples_s:
            why = f": {each.runtime} reports none" if each.reported else ""
            raise UsageError(
                f"{each.path} has no samples to compare{printable(why)}.",
                "Measure it with edgekit's own runner.",
            )
    if first.scenario["name"] != second.scenario["name"]:
        raise UsageError(
            f"One record is of scenario {first.scenario['name']}, "
            f"the other of {second.scenario['name']}.",
            "Measure both in the same scenario.",
        )


def _rounds(first: BenchmarkRecord, second: BenchmarkRecord) -> dict[Any, float]:
    """Return log(second / first) of each round; nothing when they took no turns."""
    if not first.run_id or first.run_id != second.run_id:
        return {}
    one, two = _sessions(first), _sessions(second)
    return {key: math.log(two[key] / one[key]) for key in one if key in two}


def _sessions(record: BenchmarkRecord) -> dict[Any, float]:
    """Return the 10th percentile of each session: interruptions, which only add, spoil it least."""
    return {
        chunk["session"]: float(np.percentile(seconds, 10))
        for chunk, seconds in record.stretches()
        if "session" in chunk and len(seconds)
    }


def _doubts(first: BenchmarkRecord, second: BenchmarkRecord) -> str:
    """Return why the records are no fair comparison: unstable, or of different machines."""
    found = [
        f"{each.path} is unstable ({'; '.join(f.message for f in each.findings if f.symptom)})"
        for each in (first, second)
        if any(finding.symptom for finding in each.findings)
    ]
    differing = [
        name
        for name in ("processor", "model", "cores")
        if first.machine.get(name) != second.machine.get(name)
    ]
    if differing:
        found.append(f"they are of machines that differ in {', '.join(differing)}")
    if first.threads != second.threads:
        found.append(f"they used {first.threads} and {second.threads} threads")
    return "; ".join(found)


def _verdict(
    change: Interval, margin: float, doubts: str, *, rounds: int
) -> tuple[str, str, str | None]:
    """Return verdict, reason and hint."""
    span = f"{change.estimate:+.1%}, between {change.low:+.1%} and {change.high:+.1%}"
    if doubts:
        return UNSTABLE, f"{span}; but {doubts}", "Measure them in turns: --interleave."
    apart = change.low > 0 or change.high < 0
    if apart and abs(change.estimate) > margin:
        return (SLOWER if change.estimate > 0 else FASTER), span, None
    if apart or (-2 * margin < change.low and change.high < 2 * margin):
        return SAME, f"{span}; no more than the margin of ±{margin:.0%}", None
    hint = "Take more turns: --rounds 100." if rounds else "Measure them in turns: --interleave."
    return UNSTABLE, f"{span}: too wide to tell", hint
