"""Statistics of latencies: pure functions of samples.  Latencies are seconds, in order of time.

Latencies are not independent: neighbours share a clock frequency, a busy neighbour, a warm cache.
So intervals come from blocks of neighbours, as long as samples depend on each other.  Nor are they
normal: they have a long upper tail.  So everything here is built of medians, ranks and resampling.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
LEVELS = (5.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9)
CONFIDENCE = 0.95
_BLOCKS = 50
_RESAMPLES = 400


@dataclass(frozen=True)
class Interval:
    """An estimate, and the interval that holds the true value with some confidence."""

    estimate: float
    low: float
    high: float

    @property
    def relative_width(self) -> float:
        """Half the interval's width, relative to the estimate."""
        return (self.high - self.low) / 2 / abs(self.estimate) if self.estimate else math.inf


@dataclass(frozen=True)
class Drift:
    """How a series changes from its beginning to its end.

    Attributes:
        change: Relative to the median; positive: it becomes slower.
        p: How probable so clear a trend is where there is none.
    """

    change: float
    p: float


def percentiles(samples: Sequence[float]) -> dict[str, float | None]:
    """Return latencies by name, e.g. ``p99.9``; None where too few samples lie beyond the level.

    Linear between order statistics: definition 7 of Hyndman and Fan, Sample quantiles in
    statistical packages, The American Statistician 50 (1996).
    """
    count = len(samples)
    return {
        f"p{level:g}": float(np.percentile(samples, level))
        if count * min(level, 100 - level) >= 100 * (1 - 1e-9)
        else None
        for level in LEVELS
    }


def mad(samples: Sequence[float]) -> float:
    """Return the median absolute deviation, scaled to a normal distribution's sigma (1.4826).

    Rousseeuw and Croux, Alternatives to the median absolute deviation, JASA 88 (1993).
    """
    values = np.asarray(samples, float)
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def autocorrelation_time(samples: Sequence[float]) -> float:
    """Return how many neighbouring samples tell as much as one independent one; at least 1.

    tau = 1 + 2 * sum of the autocorrelations of the samples' ranks, up to the first pair of lags
    whose sum is not positive.  Ranks, because one outlier would hide all else.
    Source: Geyer, Practical Markov chain Monte Carlo, Statistical Science 7 (1992): the initial
    positive sequence.
    """
    count = len(samples)
    if count < 4 or np.ptp(samples) == 0:
        return 1.0
    ranks = np.argsort(np.argsort(samples, kind="stable"), kind="stable").astype(float)
    ranks -= ranks.mean()
    spectrum = np.fft.rfft(ranks, 2 * count)
    shared = np.fft.irfft(spectrum * spectrum.conj())[: count // 2]
    rho = shared / shared[0]
    pairs = rho[: len(rho) // 2 * 2].reshape(-1, 2).sum(axis=1)
    ends = np.flatnonzero(pairs <= 0)
    return float(max(1.0, 2 * pairs[: ends[0] if ends.size else None].sum() - 1))


def median_interval(
    samples: Sequence[float], confidence: float = CONFIDENCE, seed: int = 0
) -> Interval:
    """Return the median and its interval, from resampled blocks of neighbours.

    Blocks are cut so that each spans several autocorrelation times, and are drawn with replacement.
    Source: Carlstein, The use of subseries values, Annals of Statistics 14 (1986); Kuensch, The
    jackknife and the bootstrap for general stationary observations, Annals of Statistics 17 (1989).
    """
    found = np.quantile(_medians(samples, seed), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(np.median(samples)), float(found[0]), float(found[1]))


def _medians(samples: Sequence[float], seed: int) -> Floats:
    """Return the medians of resampled series.

    A resampled series is the sorted samples, each with its block's number of draws as weight.
    """
    values = np.asarray(samples, float)
    count = len(values)
    blocks = max(1, min(_BLOCKS, int(count / (2 * autocorrelation_time(samples)))))
    blocks = max(blocks, min(count, 8))
    order = np.argsort(values, kind="stable")
    owner = (np.arange(count) * blocks // count)[order]
    draws = np.random.default_rng(seed).multinomial(blocks, [1 / blocks] * blocks, _RESAMPLES)
    ordered = values[order]
    rows = max(1, 2_000_000 // count)  # of a table that must fit into memory
    middles = [
        ordered[(below <= below[:, -1:] / 2).sum(axis=1).clip(max=count - 1)]
        for part in np.array_split(draws, -(-_RESAMPLES // rows))
        for below in [np.cumsum(part[:, owner], axis=1)]
    ]
    return np.concatenate(middles)


def drift(samples: Sequence[float]) -> Drift:
    """Return the trend of a series, by the medians of up to 25 successive parts.

    The slope is the median of the slopes of all pairs (Theil 1950, Sen, JASA 63 (1968)); the
    probability is that of Kendall's S, normally approximated (Mann, Econometrica 13 (1945)).
    """
    parts = np.array_split(np.asarray(samples, float), max(1, min(25, len(samples) // 4)))
    medians = np.array([np.median(part) for part in parts])
    count = len(medians)
    if count < 4:
        return Drift(0.0, 1.0)
    first, second = np.triu_indices(count, 1)
    rises = medians[second] - medians[first]
    slope = float(np.median(rises / (second - first)))
    score = abs(float(np.sign(rises).sum()))
    sigma = math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    p = 2 * (1 - NormalDist().cdf(max(0.0, score - 1) / sigma))
    return Drift(slope * (count - 1) / float(np.median(medians)), p)


def cliffs_delta(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the effect size: P(second > first) - P(second < first), from -1 to 1.

    Cliff, Dominance statistics, Psychological Bulletin 114 (1993).
    """
    ordered = np.sort(first)
    below = np.searchsorted(ordered, second, "left")
    above = len(ordered) - np.searchsorted(ordered, second, "right")
    return float((below - above).mean() / len(ordered))


def paired_interval(differences: Sequence[float], confidence: float) -> Interval:
    """Return the median of paired differences and its interval, which no outlier widens.

    The interval inverts the sign test: its ends are order statistics, whose ranks follow from the
    binomial distribution.  Where neighbouring differences depend on each other, there count as many
    as are independent.
    Source: Hollander, Wolfe, Chicken, Nonparametric Statistical Methods, 3.4 to 3.6.
    """
    values = np.asarray(differences, float)
    middle = float(np.median(values))
    count = int(len(values) / autocorrelation_time(differences))
    tail, rank = 0.5**count, 0
    while tail <= (1 - confidence) / 2:
        rank += 1
        tail += math.comb(count, rank) * 0.5**count
    if not rank:  # so few differences cannot be so confident
        return Interval(middle, -math.inf, math.inf)
    level = rank / (count + 1)
    low, high = np.quantile(values, [level, 1 - level], method="weibull")
    return Interval(middle, float(low), float(high))


def ratio_interval(first: Sequence[float], second: Sequence[float], confidence: float) -> Interval:
    """Return the interval of log(median of second / median of first), of two separate series."""
    logs = np.log(_medians(second, 1)) - np.log(_medians(first, 2))
    estimate = math.log(float(np.median(second)) / float(np.median(first)))
    found = np.quantile(logs, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(estimate, float(found[0]), float(found[1]))


def summary(samples: Sequence[float]) -> dict[str, Any]:
    """Return the figures that a record states of its samples."""
    middle = median_interval(samples)
    trend = drift(samples)
    return {
        "samples": len(samples),
        "median_s": middle.estimate,
        "median_low_s": middle.low,
        "median_high_s": middle.high,
        "confidence": CONFIDENCE,
        "percentiles_s": percentiles(samples),
        "min_s": min(samples),
        "max_s": max(samples),
        "mean_s": float(np.mean(samples)),
        "mad_s": mad(samples),
        "autocorrelation_time": autocorrelation_time(samples),
        "drift": trend.change,
        "drift_p": trend.p,
    }
