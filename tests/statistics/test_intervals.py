"""Test intervals of a mean against scipy and by hand."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from headstart.statistics import bootstrap_mean
from headstart.statistics.intervals import bca_bounds

numbers = st.lists(st.floats(-100, 100).map(lambda x: round(x, 3)), min_size=2, max_size=12)


@pytest.mark.parametrize("count", [3, 5, 20, 300])
def test_bootstrap_is_scipys_from_the_same_draws(count: int) -> None:
    values = np.random.default_rng(count).gamma(2.0, size=count)
    ours = bootstrap_mean(values, seed=3, resamples=2000)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=2000, rng=np.random.default_rng(3)).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=1e-9)


def test_bootstrap_does_not_depend_on_how_many_are_drawn_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=9)
    whole = bootstrap_mean(values, resamples=500)
    monkeypatch.setattr("headstart.statistics.intervals.CHUNK", 100)
    assert bootstrap_mean(values, resamples=500) == whole


def test_bca_by_hand() -> None:
    # Resampled 1, 2, ..., 99, estimate 60: 59 below and one equal, 59.5/99 = 0.60101, z0 = 0.25604.
    # No skew, level 90 %: levels Φ(2·0.25604 ∓ 1.64485) = Φ(-1.13277) = 0.12866 and Φ(2.15693) = 0.98450;
    # percentiles of 1..99: 1 + 98·0.12866 = 13.608 and 1 + 98·0.98450 = 97.481.
    low, high = bca_bounds(np.arange(1.0, 100.0), 60.0, 0.0, 0.9)
    assert low == pytest.approx(13.608, abs=0.01)
    assert high == pytest.approx(97.481, abs=0.01)


def test_bca_falls_back_to_percentiles() -> None:
    resampled = np.arange(101.0)
    assert bca_bounds(resampled, 1000.0, 0.0, 0.9) == pytest.approx((5, 95))
    assert bca_bounds(resampled, 50.0, 1.0, 0.9) == pytest.approx((5, 95))


def test_values_without_an_interval() -> None:
    one = bootstrap_mean([0.7])
    assert one.mean == 0.7
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    equal = bootstrap_mean([0.3, 0.1 + 0.2, 0.3])
    assert (equal.low, equal.high) == pytest.approx((0.3, 0.3))
    for wrong in ([], [0.1, math.nan], [0.1, math.inf], [[0.1, 0.2]]):
        with pytest.raises(ValueError, match="The values"):
            bootstrap_mean(wrong)
    with pytest.raises(ValueError, match="level is 95"):
        bootstrap_mean([0.1, 0.2], level=95)
    with pytest.raises(ValueError, match="0 resamples"):
        bootstrap_mean([0.1, 0.2], resamples=0)


def test_rounding_is_no_difference_from_the_mean() -> None:
    """Half the draws of two values equal the mean; only if they count as ties is the interval symmetric."""
    interval = bootstrap_mean([0.1, 0.7])
    assert (interval.low + interval.high) / 2 == pytest.approx(interval.mean)


@settings(deadline=None)
@given(numbers)
def test_bootstrap_lies_within_the_values_and_repeats(values: list[float]) -> None:
    interval = bootstrap_mean(values, resamples=200)
    assert min(values) - 1e-9 <= interval.low <= interval.high <= max(values) + 1e-9
    assert bootstrap_mean(values, resamples=200) == interval


def test_five_hundred_groups_in_about_a_second() -> None:
    groups = np.random.default_rng(0).uniform(size=(500, 5))
    start = time.process_time()
    for group in groups:
        bootstrap_mean(group)
    assert time.process_time() - start < 3  # 0.5 s on an idle core
