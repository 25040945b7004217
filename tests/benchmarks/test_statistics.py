"""Statistics, on series whose truth is known."""

import math

import numpy as np
import pytest

from edgekit.benchmarks import statistics as st


def noisy(count, seed, rho=0.0, tail=0.3):
    """Return a series of median 1: autocorrelated, with a long upper tail."""
    generator = np.random.default_rng(seed)
    shocks = generator.normal(size=count) * math.sqrt(1 - rho**2)
    values = np.empty(count)
    level = generator.normal()
    for n in range(count):
        level = rho * level + shocks[n]
        values[n] = level
    return np.exp(tail * values)


def test_percentiles_are_those_that_the_samples_can_tell():
    found = st.percentiles([float(n) for n in range(1, 101)])
    assert found["p50"] == 50.5
    assert found["p95"] == pytest.approx(95.05)
    assert found["p99"] == pytest.approx(99.01)
    assert found["p99.9"] is None
    assert st.percentiles(np.arange(1001.0))["p99.9"] == pytest.approx(999.0)
    assert st.percentiles([1.0, 2.0])["p50"] == 1.5
    assert st.percentiles([1.0, 2.0])["p95"] is None


def test_mad_is_sigma_of_normal_samples_and_outliers_do_not_matter():
    samples = np.random.default_rng(0).normal(10, 2, 20_000)
    assert st.mad(samples) == pytest.approx(2, rel=0.03)
    samples[:1000] = 1e9
    assert st.mad(samples) == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_autocorrelation_time_of_an_ar1_series(rho):
    found = np.median([st.autocorrelation_time(noisy(4000, seed, rho)) for seed in range(5)])
    assert found == pytest.approx((1 + rho) / (1 - rho), rel=0.3)


@pytest.mark.parametrize("constant", [[1.0] * 50, [1.0], [1.0, 2.0]])
def test_short_and_constant_series_are_no_trouble(constant):
    found = st.summary(constant)
    assert found["autocorrelation_time"] == 1.0
    assert found["median_low_s"] <= found["median_s"] <= found["median_high_s"]
    assert (found["drift"], found["drift_p"]) == (0.0, 1.0)


@pytest.mark.parametrize("rho", [0.0, 0.9])
def test_the_medians_interval_covers_it(rho):
    held = 0
    for seed in range(100):
        found = st.median_interval(noisy(600, seed, rho))
        held += found.low <= 1.0 <= found.high
    assert 86 <= held <= 99  # of 0.95; samples taken for independent ones give 0.36


def test_drift_is_found_and_none_is_invented():
    calls = [st.drift(noisy(400, seed, 0.0, 0.05)).p < 0.01 for seed in range(200)]
    assert sum(calls) <= 6
    rising = noisy(400, 0, 0.0, 0.05) * np.linspace(1, 1.1, 400)
    found = st.drift(rising)
    assert found.p < 1e-4
    assert found.change == pytest.approx(0.1, abs=0.03)
    assert st.drift(rising[::-1]).change == pytest.approx(-0.1, abs=0.03)


def test_effect_size():
    assert st.cliffs_delta([1, 2, 3], [4, 5, 6]) == 1.0
    assert st.cliffs_delta([4, 5, 6], [1, 2, 3]) == -1.0
    assert st.cliffs_delta([1, 2, 3], [1, 2, 3]) == 0.0
    assert st.cliffs_delta([1, 1, 2], [1, 2, 2]) == pytest.approx((4 - 1) / 9)


def test_paired_interval_has_the_ranks_of_the_binomial_tables():
    # Of 20 values: the 6th and the 15th for 95 %, the 4th and the 17th for 99 %.
    values = np.random.default_rng(0).permutation(np.arange(1.0, 21.0))
    assert st.autocorrelation_time(values) == 1.0
    found = st.paired_interval(values, 0.95)
    assert (found.estimate, found.low, found.high) == pytest.approx((10.5, 6, 15))
    found = st.paired_interval(values, 0.99)
    assert (found.low, found.high) == pytest.approx((4, 17))


def test_outliers_do_not_widen_the_paired_interval():
    calm = np.random.default_rng(0).normal(0, 0.01, 40)
    spoiled = calm.copy()
    spoiled[::5] = 10.0
    assert st.paired_interval(spoiled, 0.99).high < 0.03


def test_paired_interval_covers_zero_as_often_as_it_says():
    held = 0
    for seed in range(300):
        generator = np.random.default_rng(seed)
        found = st.paired_interval(generator.standard_t(2, 24) * 0.03, 0.99)
        held += found.low <= 0 <= found.high
    assert held >= 294


def test_few_pairs_decide_nothing():
    found = st.paired_interval([0.1, 0.1, 0.1], 0.99)
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_the_ratio_of_two_series():
    found = st.ratio_interval(noisy(500, 1), 1.2 * noisy(500, 2), 0.99)
    assert found.low < math.log(1.2) < found.high
    assert found.low > 0
