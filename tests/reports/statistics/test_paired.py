"""Paired comparisons, held against scipy, statsmodels, paper and simulation."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from headstart.reports.statistics import paired_both, paired_pictures, paired_runs

scores = hnp.arrays(
    float, st.tuples(st.just(2), st.integers(2, 12)), elements=st.integers(0, 1000).map(lambda x: x / 1000)
)
answers = hnp.arrays(bool, st.tuples(st.just(2), st.integers(2, 60)))


def test_runs_by_hand() -> None:
    # Differences 0.01, 0.02, 0.03: mean 0.02, s = 0.01, SE = 0.01/√3 = 0.0057735, t = 3.4641;
    # p of t with 2 degrees is 1 - t/√(2 + t²) = 1 - 3.4641/√14 = 0.07418; half = 4.302653·0.0057735 = 0.024841.
    # Of 8 ways to sign them, +++ and --- reach a sum of 0.06: p = 2/8. d_z = 2.
    found = paired_runs([0.81, 0.82, 0.83], [0.8, 0.8, 0.8])
    assert found.difference == pytest.approx(0.02)
    assert found.p_value == pytest.approx(0.07418, abs=1e-5)
    assert (found.low, found.high) == pytest.approx((-0.004841, 0.044841), abs=1e-6)
    assert found.other["p_permutation"] == 0.25
    assert found.effect_size == pytest.approx(2)
    assert (found.pairs, found.pictures) == (3, None)


def test_overlap_by_hand() -> None:
    # The same with folds 1 : 2: SE² = s² (1/3 + 1/2) = 0.0001·0.83333, SE = 0.0091287, t = 2.19089;
    # p = 1 - 2.19089/√(2 + 4.8) = 0.15983.
    found = paired_runs([0.81, 0.82, 0.83], [0.8, 0.8, 0.8], overlap=0.5)
    assert found.p_value == pytest.approx(0.15983, abs=1e-5)
    assert found.high - found.difference == pytest.approx(4.302653 * 0.0091287, abs=1e-6)
    assert found.other["overlap"] == 0.5
    assert "p_permutation" not in found.other


@settings(deadline=None)
@given(scores)
def test_runs_are_scipys_t_test(pairs: np.ndarray) -> None:
    a, b = pairs
    assume(np.ptp(a - b) > 1e-9)
    found, expected = paired_runs(a, b), stats.ttest_rel(a, b)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    interval = expected.confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-9, abs=1e-12)
    turned = paired_runs(b, a)
    assert (turned.difference, turned.low, turned.high) == pytest.approx((-found.difference, -found.high, -found.low))
    assert turned.p_value == pytest.approx(found.p_value)
    assert paired_runs(a, b, overlap=0.25).p_value >= found.p_value


@pytest.mark.parametrize("count", [2, 3, 7, 16])
def test_sign_flips_are_scipys(count: int) -> None:
    a, b = np.random.default_rng(count).integers(70, 95, (2, count)) / 100
    resamples = np.inf if count < 12 else 9999
    theirs = stats.permutation_test(
        (a - b,), np.mean, permutation_type="samples", n_resamples=resamples, rng=np.random.default_rng(0)
    ).pvalue
    assert paired_runs(a, b).other["p_permutation"] == pytest.approx(theirs, abs=1e-12 if count < 12 else 0.02)


def test_drawn_sign_flips_agree_with_the_t_test() -> None:
    a = np.random.default_rng(1).normal(0.25, 1, 60)
    found = paired_runs(a, np.zeros(60))
    assert 0.01 < found.p_value < 0.3
    assert found.other["p_permutation"] == pytest.approx(found.p_value, abs=0.02)
    assert paired_runs(np.full(60, 0.5), np.zeros(60)).p_value == 2.0**-59


def test_runs_without_deviation() -> None:
    same = paired_runs([0.8, 0.9], [0.8, 0.9])
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    one = paired_runs([0.8], [0.7])
    assert one.difference == pytest.approx(0.1)
    assert all(math.isnan(value) for value in (one.low, one.high, one.p_value, one.effect_size))
    shifted = paired_runs([0.9, 0.8, 0.7], [0.8, 0.7, 0.6])  # equal but for rounding
    assert shifted.difference == pytest.approx(0.1)
    assert shifted.p_value == 0.25
    assert math.isnan(shifted.low)
    assert "sign-flip" in shifted.method
    assert math.isnan(paired_runs([0.9, 0.8], [0.8, 0.7], overlap=0.5).p_value)


def test_pictures_by_hand() -> None:
    # Of 20 pictures a alone is right on 6, b alone on 1: p = 2 (C(7,0) + C(7,1)) / 2^7 = 16/128.
    # d = (6 - 1)/20; g = 6/7 - 1/2.
    a = np.array([True] * 6 + [False] * 1 + [True] * 10 + [False] * 3)
    b = np.array([False] * 6 + [True] * 1 + [True] * 10 + [False] * 3)
    found = paired_pictures(a, b)
    assert found.p_value == found.other["p_mcnemar"] == 0.125
    assert found.difference == 0.25
    assert found.effect_size == pytest.approx(6 / 7 - 1 / 2)
    assert (found.other["only_a"], found.other["only_b"]) == (6, 1)
    assert (found.pairs, found.pictures) == (1, 20)
    theirs = stats.bootstrap((a.astype(float) - b,), np.mean, rng=np.random.default_rng(0)).confidence_interval
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.051)  # one picture is 0.05


@settings(deadline=None)
@given(answers)
def test_pictures_are_statsmodels_mcnemar(both: np.ndarray) -> None:
    a, b = both
    table = [[np.sum(a & b), np.sum(a & ~b)], [np.sum(~a & b), np.sum(~a & ~b)]]
    found = paired_pictures(a, b)
    assert found.p_value == pytest.approx(mcnemar(table, exact=True).pvalue, rel=1e-9)
    assert found.low <= found.difference <= found.high
    assert found.difference == pytest.approx(a.mean() - b.mean())


def test_picture_bootstrap_is_scipys() -> None:
    a, b = np.random.default_rng(5).random((2, 400)) < [[0.85], [0.75]]
    found = paired_pictures(a, b)
    theirs = stats.bootstrap((a.astype(float) - b,), np.mean, rng=np.random.default_rng(1)).confidence_interval
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.004)


def test_identical_pictures_and_wrong_input() -> None:
    same = paired_pictures([True, False], [True, False])
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    assert math.isnan(same.effect_size)
    with pytest.raises(ValueError, match="boolean"):
        paired_pictures([0.5, 1], [0, 1])
    for compare, shape in ((paired_runs, (3,)), (paired_pictures, (3,)), (paired_both, (2, 3))):
        good, other = np.zeros(shape), np.zeros((*shape[:-1], 4))
        with pytest.raises(ValueError, match="shapes"):
            compare(good, other)
        with pytest.raises(ValueError, match="NaN"):
            compare(good, np.full(shape, math.nan))
        with pytest.raises(ValueError, match="axes"):
            compare(good[None], good[None])
    with pytest.raises(ValueError, match="overlap"):
        paired_runs([1, 2], [1, 3], overlap=-0.1)
    with pytest.raises(ValueError, match="one test picture"):
        paired_both([[1], [0]], [[0], [0]])


def test_both_by_hand() -> None:
    # Differences, 2 seeds by 3 pictures: (4, 0, 2) and (2, 0, -2). Seeds' means 2, 0; pictures' 3, 0, 0; all 1.
    # MS_seeds = 3·((2-1)² + (0-1)²)/1 = 6; MS_pictures = 2·(4 + 1 + 1)/2 = 6.
    # Rest, d - seed - picture + 1: (0, -1, 1), (0, 1, -1); squares sum to 4, over 1·2 degrees: MS_rest = 2.
    # SE² = (4 + 4 + 2)/6 = 5/3; degrees = 10²/(36/1 + 36/2 + 4/2) = 100/56.
    # σ²_seed = 4/3, σ²_picture = 4/2, σ²_rest = 2. d_z over the seeds' means 2 and 0: 1/√2.
    found = paired_both([[4, 0, 2], [2, 0, -2]], np.zeros((2, 3)))
    assert found.difference == 1
    assert found.other["standard_error"] == pytest.approx(math.sqrt(5 / 3))
    assert found.other["degrees_of_freedom"] == pytest.approx(100 / 56)
    deviations = [found.other[f"deviation_{name}"] ** 2 for name in ("seeds", "pictures", "rest")]
    assert deviations == pytest.approx([4 / 3, 2, 2])
    t = stats.t(100 / 56)
    assert found.p_value == pytest.approx(2 * t.sf(1 / math.sqrt(5 / 3)))
    assert found.high == pytest.approx(1 + t.ppf(0.975) * math.sqrt(5 / 3))
    assert found.effect_size == pytest.approx(1 / math.sqrt(2))
    assert found.other["p_permutation"] == 1  # 2 + 0 and 2 - 0 are equally far from zero
    assert (found.pairs, found.pictures) == (2, 3)


def test_one_seed_is_the_t_test_over_pictures() -> None:
    a, b = np.random.default_rng(2).random((2, 1, 80)) < [[[0.9]], [[0.7]]]
    found = paired_both(a, b)
    expected = stats.ttest_rel(a[0].astype(float), b[0].astype(float))
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.low == pytest.approx(expected.confidence_interval().low)
    assert found.other["p_mcnemar"] == paired_pictures(a[0], b[0]).p_value
    assert found.pairs == 1
    assert "one seed" in found.method
    assert not {"deviation_seeds", "p_permutation"} & set(found.other)


def test_seeds_alone_are_the_paired_t_test() -> None:
    """Where every picture says the same, the picture term is nothing and the t-test over seeds is left."""
    by_seed = np.array([0.1, 0.3, 0.2, 0.5])
    found = paired_both(np.repeat(by_seed[:, None], 50, axis=1), np.zeros((4, 50)))
    expected = paired_runs(by_seed, np.zeros(4))
    assert (found.low, found.p_value) == pytest.approx((expected.low, expected.p_value))


def test_both_without_deviation() -> None:
    answers = np.random.default_rng(0).random((3, 20)) < 0.5
    same = paired_both(answers, answers)
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    opposite = paired_both(np.ones((3, 20)), np.zeros((3, 20)))
    assert opposite.p_value == 2.0**-19
    assert math.isnan(opposite.low)


def test_crossed_bootstrap_finds_the_spread_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    effects = rng.normal(0, 1, (12, 1)) + rng.normal(0, 3, (1, 60)) + rng.normal(0, 0.1, (12, 60))
    zeros = np.zeros((12, 60))
    found = paired_both(effects, zeros)
    # Variance of the mean over draws: (n - 1)/n² of each sample variance, and the rest next to nothing.
    expected = math.sqrt(effects.mean(axis=1).var() / 12 + effects.mean(axis=0).var() / 60)
    width = found.other["bootstrap_high"] - found.other["bootstrap_low"]
    assert width / (2 * 1.96) == pytest.approx(expected, rel=0.08)
    monkeypatch.setattr("headstart.reports.statistics.paired.KEPT_PICTURES", 1)
    assert paired_both(effects, zeros).other == pytest.approx(found.other)
    assert "bootstrap_low" not in paired_both(effects, zeros, resamples=0).other


@settings(deadline=None)
@given(hnp.arrays(bool, st.tuples(st.just(2), st.integers(1, 4), st.integers(2, 20))))
def test_both_sides_agree(both: np.ndarray) -> None:
    a, b = both
    found, turned = paired_both(a, b, resamples=20), paired_both(b, a, resamples=20)
    assert found.difference == pytest.approx(a.mean() - b.mean())
    assert turned.p_value == pytest.approx(found.p_value)
    assert 0 <= found.p_value <= 1
    if not math.isnan(found.low):
        assert found.low <= found.difference <= found.high
        assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize(
    ("of_seeds", "of_pictures", "rest"),
    [(0.02, 0.1, 0.3), (0.3, 0.3, 1.0), (0.1, 1.0, 1.0), (0.1, 0.3, 1.0), (1.0, 0.0, 1.0), (0.0, 0.0, 1.0)],
)
def test_coverage(seeds: int, of_seeds: float, of_pictures: float, rest: float) -> None:
    """The 95 % interval holds the true difference in no fewer than 92 % of simulated experiments (SE 1.1 %)."""
    rng, count, pictures, hits = np.random.default_rng(7), 400, 100, 0
    zeros = np.zeros((seeds, pictures))
    for _ in range(count):
        noise = rest * rng.normal(size=(seeds, pictures))
        d = 0.5 + of_seeds * rng.normal(size=(seeds, 1)) + of_pictures * rng.normal(size=(1, pictures)) + noise
        found = paired_both(d, zeros, resamples=0)
        hits += found.low <= 0.5 <= found.high
    assert hits / count >= 0.92


def test_more_seeds_are_not_counted_twice() -> None:
    """With many seeds the standard error is that of the model; the simple sum of both terms would be a third above."""
    rng, errors, simple = np.random.default_rng(3), [], []
    for _ in range(50):
        d = rng.normal(size=(20, 80))
        errors.append(paired_both(d, np.zeros_like(d), resamples=0).other["standard_error"] ** 2)
        simple.append(d.mean(axis=1).var(ddof=1) / 20 + d.mean(axis=0).var(ddof=1) / 80)
    true = 1 / (20 * 80)
    assert np.mean(errors) == pytest.approx(true, rel=0.25)
    assert np.mean(simple) == pytest.approx(2 * true, rel=0.1)
