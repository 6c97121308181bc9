"""Test the interval of one mean accuracy against statsmodels, by hand and by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from headstart.statistics import accuracy_interval, score_interval


@pytest.mark.parametrize("right", [0, 1, 77, 125, 152, 153])
def test_one_run_has_wilsons_interval(right: int) -> None:
    answers = np.arange(153)[None] < right
    found = accuracy_interval(answers)
    # Wilson's with t(152) in the place of z: 1.975694 of 1.959964
    alpha = 2 * stats.norm.sf(stats.t(152).ppf(0.975))
    expected = proportion_confint(right, 153, alpha, method="wilson")
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-9)


def test_runs_that_answer_alike_have_the_interval_of_one() -> None:
    one = np.random.default_rng(0).random((1, 153)) < 0.817
    alone, many = accuracy_interval(one), accuracy_interval(np.repeat(one, 5, axis=0))
    assert many.high - many.low > 0.1
    assert (many.low, many.high) == pytest.approx((alone.low, alone.high))
    all_right = accuracy_interval(np.ones((3, 153)))
    assert all_right.high == 1
    assert 0.96 < all_right.low < 0.98  # Clopper and Pearson have 0.025^(1/153) = 0.976


def test_independent_answers_of_many_runs_narrow_it() -> None:
    """If images are equally hard, S runs on N images give S N independent answers."""
    answers = np.random.default_rng(0).random((20, 500)) < 0.8
    found = accuracy_interval(answers)
    least = 2 * 1.96 * math.sqrt(0.16 / 10_000)
    assert least < found.high - found.low < 1.3 * least


@pytest.mark.parametrize(("seeds", "images", "of_seeds"), [(2, 150, 0.5), (3, 150, 0.0), (3, 60, 0.3), (10, 150, 0.5)])
def test_coverage(seeds: int, images: int, of_seeds: float) -> None:
    """An answer is right if skill, seed and image add up to more than zero; 2,000 experiments (SE 0.5 %)."""
    rng, count, skill = np.random.default_rng(1), 2000, 1.5
    drawn = skill + of_seeds * rng.normal(size=(count, seeds, 1)) + rng.normal(size=(count, 1, images))
    answers = rng.random((count, seeds, images)) < stats.norm.cdf(drawn)
    truth = stats.norm.cdf(skill / math.sqrt(2 + of_seeds**2))
    hits = sum(found.low <= truth <= found.high for found in map(accuracy_interval, answers))
    assert hits / count >= 0.94


def test_scores_alone_by_hand() -> None:
    # 0.80, 0.84, 0.88: s = 0.04, SE = 0.04/√3 = 0.023094, t(2) = 4.302653: half = 0.099365 over runs.
    runs = score_interval(0.84, 0.04, 3)
    assert (runs.low, runs.high) == pytest.approx((0.84 - 0.099365, 0.84 + 0.099365), abs=1e-6)
    # On 100 images Wilson's bounds with t(99) = 1.984217: t² = 3.937117, middle (0.84 + t²/200)/(1 + t²/100) =
    # 0.827121, half √(t² (0.84·0.16 + t²/400)/100)/(1 + t²/100) = 0.072505. Both parts are added in squares.
    wilson = score_interval(0.84, 0.0, 1, 100)
    assert (wilson.low, wilson.high) == pytest.approx((0.827121 - 0.072505, 0.827121 + 0.072505), abs=1e-5)
    both = score_interval(0.84, 0.04, 3, 100)
    assert both.low == pytest.approx(0.84 - math.hypot(0.099365, 0.84 - wilson.low), abs=1e-6)
    # Folds have images of their own, which the deviation holds; SE² = s² (1/3 + 1/2) is the corrected test's.
    folds = score_interval(0.84, 0.04, 3, 100, overlap=0.5)
    assert folds.low == pytest.approx(0.84 - 4.302653 * 0.04 * math.sqrt(5 / 6))
    alike = score_interval(0.84, 0.0, 3, 100, overlap=0.5)
    assert (alike.low, alike.high) == pytest.approx((wilson.low, wilson.high))
    assert math.isnan(score_interval(0.84, math.nan, 1).low)


@settings(deadline=None)
@given(hnp.arrays(bool, st.tuples(st.integers(1, 5), st.integers(1, 40))))
def test_it_holds_the_mean_and_stays_between_0_and_1(answers: np.ndarray) -> None:
    found = accuracy_interval(answers)
    assert 0 <= found.low <= found.mean + 1e-12
    assert found.mean - 1e-12 <= found.high <= 1
    assert found.high > found.low
    mirrored = accuracy_interval(~answers)
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - found.high, 1 - found.low))


def test_wrong_input() -> None:
    with pytest.raises(ValueError, match="boolean"):
        accuracy_interval([[0.5, 1]])
    with pytest.raises(ValueError, match="axes"):
        accuracy_interval([True, False])
    with pytest.raises(ValueError, match="level is 95"):
        score_interval(0.5, 0.1, 3, level=95)
