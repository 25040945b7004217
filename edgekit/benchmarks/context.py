"""What the state of a machine says about its times: whether they can be trusted, and if not, why.

Symptoms are seen in the samples, causes in the states that were read before, during and after.
A record with a symptom is unstable; each finding names the flag or the deed that changes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

State = Mapping[str, Any]

WIDEST = 0.025  # of the median's interval, half of it, relative to the median
DRIFT = 0.05
HOT_THROTTLES = ("throttled now", "frequency capped now", "soft temperature limit now")


@dataclass(frozen=True)
class Finding:
    """A reason to distrust a time.

    Attributes:
        word: A word that stays: ``drift``.
        message: What was seen, with figures.
        remedy: What to do, naming the option where there is one.
        symptom: Whether it is seen in the samples; otherwise it may explain one.
    """

    word: str
    message: str
    remedy: str
    symptom: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return dict(vars(self))


def symptoms(summary: Mapping[str, Any], warmup: Mapping[str, Any] | None) -> list[Finding]:
    """Return what is wrong with the samples themselves."""
    found = []
    width = (summary["median_high_s"] - summary["median_low_s"]) / 2 / summary["median_s"]
    if width > WIDEST:
        found.append(
            Finding(
                "wide_interval",
                f"the median is known to ±{width:.1%} only",
                "measure longer: --min-time 10s",
                symptom=True,
            )
        )
    if abs(summary["drift"]) > DRIFT and summary["drift_p"] < 0.01:
        direction = "slower" if summary["drift"] > 0 else "faster"
        found.append(
            Finding(
                "drift",
                f"times became {abs(summary['drift']):.1%} {direction} while measuring",
                "let it settle: --warmup 10s, or look at the curve with --sustained 10m",
                symptom=True,
            )
        )
    if warmup is not None and warmup["runs"] and not warmup["steady"]:
        found.append(
            Finding(
                "not_steady",
                f"warming up ended {warmup['why']}",
                "warm up for longer: --warmup 10s",
            )
        )
    return found


def causes(states: Sequence[State], cores: int | None) -> list[Finding]:
    """Return what the states of the machine say."""
    return [*_throttling(states), *_frequency(states), *_others(states, cores), *_battery(states)]


def _throttling(states: Sequence[State]) -> Iterable[Finding]:
    seen = [state.get("throttled", {}) for state in states]
    flags = sorted({flag for each in seen for flag in each.get("flags", ())})
    now = [flag for flag in flags if flag in HOT_THROTTLES]
    events = [each["events"] for each in seen if "events" in each]
    if now or (events and events[-1] > events[0]):
        what = ", ".join(now) or f"{events[-1] - events[0]:g} throttle events"
        yield Finding(
            "throttled", f"the processor was slowed down: {what}", "cool it, and wait", symptom=True
        )
    if "under-voltage now" in flags:
        yield Finding(
            "under_voltage",
            "the supply voltage is too low",
            "use a stronger power supply",
            symptom=True,
        )


def _frequency(states: Sequence[State]) -> Iterable[Finding]:
    rates = [max(each["frequency_hz"].values()) for each in states if each.get("frequency_hz")]
    during = rates[1:]  # before the run a governor may well save power
    if during and max(during) > 1.05 * min(during):
        governors = {name for each in states for name in each.get("governor", {}).values()}
        yield Finding(
            "frequency",
            f"the frequency went from {min(during) / 1e9:.2f} to {max(during) / 1e9:.2f} GHz",
            "pin it: governor performance"
            + (f" instead of {', '.join(sorted(governors))}" if governors else ""),
        )


def _others(states: Sequence[State], cores: int | None) -> Iterable[Finding]:
    seen = [each["other_cpu"] for each in states[1:] if "other_cpu" in each]
    busiest = max(seen, default=0.0)
    if busiest > 0.25:
        of = f" of {cores}" if cores else ""
        yield Finding(
            "other_processes",
            f"other processes kept {busiest:.1f}{of} cores busy",
            "close other programs, or compare in turns: edgekit compare --interleave",
        )


def _battery(states: Sequence[State]) -> Iterable[Finding]:
    low = [each["battery"] for each in states if each.get("battery", {}).get("percent", 100) < 20]
    if low:
        yield Finding("battery", f"the battery was at {low[0]['percent']:g} %", "charge it")


def energy(states: Sequence[State], inferences: int) -> dict[str, Any]:
    """Return joules per inference by domain, or why there are none.

    Counters give the difference between the first and the last state while samples were taken;
    power sensors their mean over these, times the time.  Both hold all that the machine did.
    """
    states = [each for each in states if each.get("when") == "during"]
    first, last = (states[0], states[-1]) if states else ({}, {})
    counters = {
        name: value - first["energy_j"][name]
        for name, value in last.get("energy_j", {}).items()
        if name in first.get("energy_j", {}) and value >= first["energy_j"][name]  # it wraps
    }
    seconds = last.get("t", 0.0) - first.get("t", 0.0)
    sensors = {name for state in states for name in state.get("power_w", {})}
    watts = {
        name: sum(found) / len(found)
        for name in sensors
        if (found := [each["power_w"][name] for each in states if name in each.get("power_w", {})])
    }
    joules = {**{name: mean * seconds for name, mean in watts.items()}, **counters}
    if not joules or not inferences:
        reasons = [each["not_run"].get("energy_j", "") for each in states if "not_run" in each]
        return {"not_run": reasons[0] if reasons and reasons[0] else "no sensor was read"}
    return {
        "joules": joules,
        "joules_per_inference": {name: value / inferences for name, value in joules.items()},
        "seconds": seconds,
        "note": "of the whole machine, while samples were taken",
    }
