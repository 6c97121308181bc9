"""Test paired comparisons against scipy and statsmodels, by hand and by simulation."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from headstart.comparison.verdict import verdict
from headstart.statistics import MeanError, bonferroni, paired_both, paired_runs, two_way_error

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
    assert (found.pairs, found.images) == (3, None)


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


@settings(deadline=None)
@given(answers)
def test_one_seed_has_statsmodels_mcnemar(both: np.ndarray) -> None:
    a, b = both
    table = [[np.sum(a & b), np.sum(a & ~b)], [np.sum(~a & b), np.sum(~a & ~b)]]
    found = paired_both(a[None], b[None], resamples=0)
    assert found.other["p_mcnemar"] == pytest.approx(mcnemar(table, exact=True).pvalue, rel=1e-9)


def test_wrong_input() -> None:
    for compare, shape in ((paired_runs, (3,)), (paired_both, (2, 3))):
        good, other = np.zeros(shape), np.zeros((*shape[:-1], 4))
        with pytest.raises(ValueError, match="shapes"):
            compare(good, other)
        with pytest.raises(ValueError, match="NaN"):
            compare(good, np.full(shape, math.nan))
        with pytest.raises(ValueError, match="axes"):
            compare(good[None], good[None])
    with pytest.raises(ValueError, match="overlap"):
        paired_runs([1, 2], [1, 3], overlap=-0.1)
    with pytest.raises(ValueError, match="one test image"):
        paired_both([[1], [0]], [[0], [0]])


def test_both_by_hand() -> None:
    # Differences, 2 seeds by 3 images: (4, 0, 2) and (2, 0, -2). Seeds' means 2, 0; images' 3, 0, 0; all 1.
    # MS_seeds = 3·((2-1)² + (0-1)²)/1 = 6; MS_images = 2·(4 + 1 + 1)/2 = 6.
    # Rest, d - seed - image + 1: (0, -1, 1), (0, 1, -1); squares sum to 4, over 1·2 degrees: MS_rest = 2.
    # Over S N = 6 the parts are (6 - 2)/6 of the images, 2/6 of the rest and 6/6 of the runs: SE² = 4/6 + 1 = 5/3.
    # t with 2 degrees (images) is 4.302653, with 1 degree (runs) 12.706205: half² = 18.512821·2/3 + 161.447639·1.
    # σ²_seed = 4/3, σ²_image = 4/2, σ²_rest = 2. d_z over the seeds' means 2 and 0: 1/√2.
    found = paired_both([[4, 0, 2], [2, 0, -2]], np.zeros((2, 3)))
    assert found.difference == 1
    assert found.other["standard_error"] == pytest.approx(math.sqrt(5 / 3))
    deviations = [found.other[f"deviation_{name}"] ** 2 for name in ("seeds", "images", "rest")]
    assert deviations == pytest.approx([4 / 3, 2, 2])
    assert found.high == pytest.approx(1 + math.sqrt(18.512821 * 2 / 3 + 161.447639))
    assert found.at(1 - found.p_value).low == pytest.approx(0, abs=1e-9)
    assert found.effect_size == pytest.approx(1 / math.sqrt(2))
    assert found.other["p_permutation"] == 1  # 2 + 0 and 2 - 0 are equally far from zero
    assert (found.pairs, found.images) == (2, 3)


def test_one_seed_is_the_t_test_over_images() -> None:
    a, b = np.random.default_rng(2).normal(size=(2, 1, 80))
    found = paired_both(a, b)
    expected = stats.ttest_rel(a[0], b[0])
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.low == pytest.approx(expected.confidence_interval().low)
    assert found.pairs == 1
    assert "one seed" in found.method
    assert not {"deviation_seeds", "p_permutation"} & set(found.other)


def test_right_and_wrong_vary_at_least_as_if_both_differed_on_one_image() -> None:
    a, b = np.random.default_rng(2).random((2, 1, 80)) < [[[0.9]], [[0.7]]]
    found, expected = paired_both(a, b), stats.ttest_rel(a[0].astype(float), b[0])
    assert found.low == pytest.approx(expected.confidence_interval().low)
    alike = paired_both(a, a)
    assert alike.high == pytest.approx(stats.t(79).ppf(0.975) / 80)
    assert two_way_error(np.zeros((5, 3, 80)), of_answers=True).half(0.05) == pytest.approx([alike.high] * 5)


def test_seeds_alone_are_the_paired_t_test() -> None:
    """If every image gives the same answer, the image term is zero and the t-test over seeds remains."""
    by_seed = np.array([0.1, 0.3, 0.2, 0.5])
    found = paired_both(np.repeat(by_seed[:, None], 50, axis=1), np.zeros((4, 50)))
    expected = paired_runs(by_seed, np.zeros(4))
    assert (found.low, found.p_value) == pytest.approx((expected.low, expected.p_value))


def test_both_without_deviation() -> None:
    answers = np.random.default_rng(0).random((3, 20)) < 0.5
    same = paired_both(answers, answers)
    assert same.identical
    assert (same.difference, same.p_value) == (0, 1)
    # Right on the same 20 images: not known for others. t(19) = 2.093024 times 1/20.
    assert (same.low, same.high) == pytest.approx((-0.1046512, 0.1046512))
    opposite = paired_both(np.ones((3, 20)), np.zeros((3, 20)))
    assert not opposite.identical
    assert opposite.p_value < 1e-9
    assert opposite.low == pytest.approx(1 - 0.1046512)
    losses = paired_both(np.full((3, 20), 2.5), np.full((3, 20), 1.5))  # no answers that are right or wrong
    assert losses.p_value == 2.0**-19
    assert math.isnan(losses.low)


def test_crossed_bootstrap_finds_the_spread_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    effects = rng.normal(0, 1, (12, 1)) + rng.normal(0, 3, (1, 60)) + rng.normal(0, 0.1, (12, 60))
    zeros = np.zeros((12, 60))
    found = paired_both(effects, zeros)
    # Variance of the mean over draws: (n - 1)/n² of each sample variance, and the rest next to nothing.
    expected = math.sqrt(effects.mean(axis=1).var() / 12 + effects.mean(axis=0).var() / 60)
    width = found.other["bootstrap_high"] - found.other["bootstrap_low"]
    assert width / (2 * 1.96) == pytest.approx(expected, rel=0.08)
    monkeypatch.setattr("headstart.statistics.paired.KEPT_IMAGES", 1)
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


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize(
    ("of_seeds", "of_images", "rest"),
    [(0.02, 0.1, 0.3), (0.3, 0.3, 1.0), (0.1, 1.0, 1.0), (0.1, 0.3, 1.0), (1.0, 0.0, 1.0), (0.0, 0.0, 1.0)],
)
def test_coverage(seeds: int, of_seeds: float, of_images: float, rest: float) -> None:
    """The 95 % interval contains the true value in at least 94 % of 4,000 simulations (SE 0.35 %)."""
    rng, count, images = np.random.default_rng(7), 4000, 60
    d = rest * rng.standard_normal((count, seeds, images), dtype=np.float32)
    d += of_seeds * rng.standard_normal((count, seeds, 1), dtype=np.float32)
    d += of_images * rng.standard_normal((count, 1, images), dtype=np.float32)
    assert np.mean(np.abs(d.mean(axis=(1, 2))) <= two_way_error(d).half(0.05)) >= 0.94


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_verdict_interval_and_p_agree(data: st.DataObject) -> None:
    """For any answers and number of comparisons: better, an interval without zero and p below 5 % agree."""
    shape = data.draw(st.tuples(st.integers(2, 5), st.integers(2, 30)))
    seed, comparisons = data.draw(st.integers(0, 2**32)), data.draw(st.sampled_from([1, 3, 45]))
    shares = data.draw(st.tuples(st.floats(0, 1), st.floats(0, 1)))
    rng = np.random.default_rng(seed)
    a, b = (rng.random(shape) < np.clip(share + 0.1 * rng.normal(size=(shape[0], 1)), 0, 1) for share in shares)
    if data.draw(st.booleans()):
        found = paired_both(a, b, resamples=0)
    else:
        found = paired_runs(a.mean(axis=1), b.mean(axis=1), data.draw(st.sampled_from([None, 0.25])))
        assume(not math.isnan(found.low))
    p = float(bonferroni([found.p_value] * comparisons)[0])
    assume(abs(p - 0.05) > 1e-9)
    shown = found.at(1 - 0.05 / comparisons)
    assert (p < 0.05) == (not shown.low <= 0 <= shown.high)
    said = verdict("a", "b", shown, p)
    assert (" beats " in said) == (p < 0.05)
    if "[" in said:
        low, high = (float(bound) for bound in said.partition("[")[2].partition("]")[0].split(", "))
        assert (" beats " in said) == (low > 0)
        assert low <= 100 * abs(shown.difference) + 0.05
        assert high >= 100 * abs(shown.difference) - 0.05


@settings(deadline=None)
@given(
    *(st.floats(1e-6, 1),) * 3, st.sampled_from([1, 2, 9, 599]), st.sampled_from([9, 149, 9999]), st.floats(1e-3, 20)
)
def test_p_is_the_level_at_which_the_interval_ends_at_zero(
    images: float, rest: float, runs: float, run_degrees: int, image_degrees: int, size: float
) -> None:
    error = MeanError(images, rest, runs, image_degrees, run_degrees)
    p = error.p_value(size)
    assert 0 < p <= 1
    if p > 1e-150:
        assert error.half(p) == pytest.approx(size, rel=1e-6)
    halves = [float(error.half(alpha)) for alpha in (0.2, 0.05, 0.01, 0.001)]
    assert halves == sorted(halves)


def test_more_seeds_are_not_counted_twice() -> None:
    """With many seeds the standard error is the model's; the simple sum of both terms would be a third larger."""
    rng, errors, simple = np.random.default_rng(3), [], []
    for _ in range(50):
        d = rng.normal(size=(20, 80))
        errors.append(paired_both(d, np.zeros_like(d), resamples=0).other["standard_error"] ** 2)
        simple.append(d.mean(axis=1).var(ddof=1) / 20 + d.mean(axis=0).var(ddof=1) / 80)
    true = 1 / (20 * 80)
    assert np.mean(errors) == pytest.approx(true, rel=0.25)
    assert np.mean(simple) == pytest.approx(2 * true, rel=0.1)
