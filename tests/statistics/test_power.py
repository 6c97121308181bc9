"""Test numbers of runs and images against statsmodels and by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.power import TTestPower

from headstart.statistics import (
    Deviations,
    images_needed,
    paired_both,
    paired_runs,
    runs_needed,
    runs_needed_both,
    sample_needed,
)
from headstart.statistics.power import t_power, two_way_power


def test_runs_needed_by_hand() -> None:
    # Normal approximation for a standardised difference of 0.5: ((1.959964 + 0.841621)/0.5)² = 31.4; t takes about
    # 1.96²/2 = 1.9 more: 33.3, so 34 (as in every table of sample sizes for the paired t-test).
    assert runs_needed(0.01, 0.02) == 34
    assert runs_needed(-0.01, 0.02) == 34


@settings(max_examples=40, deadline=None)
@given(st.floats(0.06, 5), st.sampled_from([0.5, 0.8, 0.9]), st.sampled_from([0.05, 0.01, 0.05 / 15]))
def test_runs_needed_is_statsmodels(effect: float, power: float, alpha: float) -> None:
    runs = runs_needed(effect, 1.0, power, alpha)
    assert runs is not None
    table = TTestPower()
    # In statsmodels "two-sided" adds the wrong direction, which is next to nothing here but comes out as NaN at times.
    assert table.power(effect, runs, alpha / 2, alternative="larger") >= power - 1e-9
    assert runs == 2 or table.power(effect, runs - 1, alpha / 2, alternative="larger") < power + 1e-9
    if effect < 1:
        assert runs == math.ceil(table.solve_power(effect, alpha=alpha, power=power) - 1e-6)


def test_where_no_number_of_runs_is_enough() -> None:
    assert runs_needed(0.0, 0.02) is None
    assert runs_needed(0.001, 1.0) is None
    assert runs_needed(0.5, 0.0) == 2
    # Folds that overlap: SE² never falls below s²·0.25, so d = 0.02 stays 2 standard errors away at most.
    assert runs_needed(0.02, 0.02, overlap=0.25) is None
    assert runs_needed(0.02, 0.02) is not None
    for wrong in ((math.nan, 1), (1, -1)):
        with pytest.raises(ValueError, match="deviation"):
            runs_needed(*wrong)
    with pytest.raises(ValueError, match="power is 80"):
        runs_needed(1, 1, power=80)


def test_power_of_sure_things() -> None:
    for degrees in (1, 3.5, 100, 1e6):
        assert t_power(1e6, 1.0, degrees, 0.05) == pytest.approx(1)
        assert t_power(0.0, 1.0, degrees, 0.05) == pytest.approx(0.025)
    assert two_way_power(0.1, Deviations(0, 0, 0), 2, 2, 0.05) == 1
    with pytest.raises(ValueError, match="at least two"):
        two_way_power(0.1, Deviations(1, 1, 1), 1, 100, 0.05)


def test_seeds_alone_are_the_paired_t_test() -> None:
    """If only seeds vary, more images do not help, and the numbers are those of the paired t-test."""
    deviations = Deviations(0.02, 0.0, 0.0)
    assert runs_needed_both(0.01, deviations, 500) == runs_needed(0.01, 0.02) == 34
    assert images_needed(0.01, deviations, 10) is None
    assert images_needed(0.01, deviations, 40) == 2


def test_images_alone_by_hand() -> None:
    # Images alone: d = 0.02, σ = 0.3: ((1.959964 + 0.841621)·15)² = 1766 images, about 2 more for t.
    # Seeds do not help.
    deviations = Deviations(0.0, 0.3, 0.0)
    assert images_needed(0.02, deviations, 3) == pytest.approx(1768, abs=1)
    assert runs_needed_both(0.02, deviations, 153) is None
    assert runs_needed_both(0.02, deviations, 1800) == 2


@settings(deadline=None)
@given(st.floats(0.005, 0.2), *(st.floats(0, 0.5),) * 3, st.integers(2, 40), st.integers(10, 3000))
def test_one_less_is_not_enough(d: float, s: float, p: float, r: float, runs: int, images: int) -> None:
    deviations = Deviations(s, p, r)
    needed = runs_needed_both(d, deviations, images)
    if needed is not None:
        assert two_way_power(d, deviations, needed, images, 0.05) >= 0.8
        assert needed == 2 or two_way_power(d, deviations, needed - 1, images, 0.05) < 0.8
    more = images_needed(d, deviations, runs)
    if more is not None:
        assert two_way_power(d, deviations, runs, more, 0.05) >= 0.8
        assert more == 2 or two_way_power(d, deviations, runs, more - 1, 0.05) < 0.8


def test_the_power_is_what_simulation_finds() -> None:
    deviations, d, images = Deviations(0.03, 0.2, 0.4), 0.05, 200
    runs = runs_needed_both(d, deviations, images)
    assert runs is not None
    rng, found = np.random.default_rng(0), 0
    for _ in range(300):
        seed, image = rng.normal(0, 0.03, (runs, 1)), rng.normal(0, 0.2, (1, images))
        scores = d + seed + image + rng.normal(0, 0.4, (runs, images))
        found += paired_both(scores, np.zeros_like(scores), resamples=0).p_value < 0.05
    assert found / 300 == pytest.approx(0.8, abs=0.08)


def test_needed_of_a_comparison() -> None:
    runs = paired_runs([0.81, 0.83, 0.80], [0.80, 0.80, 0.81])
    needed = sample_needed(runs)
    assert needed is not None
    assert needed.runs == runs_needed(runs.difference, runs.other["deviation"])
    assert needed.images is None
    folds = sample_needed(paired_runs([0.81, 0.83, 0.80], [0.80, 0.80, 0.81], overlap=0.1))
    assert folds is not None
    assert needed.runs is not None
    assert folds.runs is None or folds.runs > needed.runs
    answers = np.random.default_rng(1).random((2, 4, 100)) < [[[0.8]], [[0.7]]]
    both = sample_needed(paired_both(*answers))
    assert both is not None
    assert both.images is not None
    assert sample_needed(paired_both(*answers[:, :1])) is None
    assert sample_needed(paired_runs([0.8], [0.7])) is None
