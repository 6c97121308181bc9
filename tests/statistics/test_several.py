"""Test multiple comparisons against statsmodels and scikit-posthocs, and by hand."""

import math
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scikit_posthocs import posthoc_nemenyi_friedman
from scipy import stats
from statsmodels.stats.multitest import multipletests

from headstart.statistics import bonferroni, cliques, friedman_nemenyi


def test_bonferroni_by_hand() -> None:
    assert bonferroni([0.04, math.nan, 0.01, 0.5]) == pytest.approx([0.12, math.nan, 0.03, 1], nan_ok=True)
    assert bonferroni([]).shape == (0,)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_bonferroni_is_statsmodels(p_values: list[float]) -> None:
    with mock.patch("gc.collect"):  # statsmodels collects garbage at each call
        expected = multipletests(p_values, method="bonferroni")[1]
    assert bonferroni(p_values) == pytest.approx(expected)


def test_bonferroni_refuses_what_is_no_probability() -> None:
    for wrong in ([0.5, 1.2], [-0.1]):
        with pytest.raises(ValueError, match="p-value"):
            bonferroni(wrong)
    with pytest.raises(ValueError, match="axes"):
        bonferroni([[0.5]])


def test_friedman_by_hand() -> None:
    # Four blocks, always a > b > c: ranks 1, 2, 3. χ² = 12·4/(3·4)·(1 + 4 + 9) - ... = 12/(n k (k+1)) ΣR² - 3n(k+1)
    # = 12/48·(16 + 64 + 144) - 48 = 8 with 2 degrees, p = e^-4 = 0.018316.
    # Critical difference: q(0.05, 3) = 3.314493/√2 = 2.343701 (Demšar's table 5: 2.343), times √(12/24): 1.657247.
    found = friedman_nemenyi([[0.9, 0.8, 0.7], [0.6, 0.5, 0.1], [0.9, 0.2, 0.1], [0.5, 0.4, 0.3]])
    assert found.average_ranks == pytest.approx([1, 2, 3])
    assert found.p_value == pytest.approx(math.exp(-4))
    assert found.critical_difference == pytest.approx(1.657247, abs=1e-4)
    assert found.pairwise[0, 2] < 0.05 < found.pairwise[0, 1]
    assert found.blocks == 4


@settings(deadline=None)
@given(hnp.arrays(float, st.tuples(st.integers(2, 8), st.integers(3, 6)), elements=st.integers(0, 9).map(float)))
def test_nemenyi_is_scikit_posthocs(scores: np.ndarray) -> None:
    found = friedman_nemenyi(scores)
    assert found.pairwise == pytest.approx(posthoc_nemenyi_friedman(scores).to_numpy(), abs=1e-9)
    if (scores != scores[:, :1]).any():
        assert found.p_value == pytest.approx(stats.friedmanchisquare(*scores.T).pvalue)
    ranks = found.average_ranks
    off = ~np.eye(len(ranks), dtype=bool)
    apart = np.abs(ranks[:, None] - ranks)[off]
    clear = np.abs(apart - found.critical_difference) > 1e-6
    assert ((apart > found.critical_difference) == (found.pairwise[off] < 0.05))[clear].all()


def test_friedman_at_the_edges() -> None:
    alike = friedman_nemenyi([[0.3, 0.1 + 0.2, 0.3], [0.5, 0.5, 0.5]])  # equal but for rounding
    assert alike.p_value == 1
    assert alike.average_ranks == pytest.approx([2, 2, 2])
    assert (alike.pairwise == 1).all()
    for wrong in (np.zeros((1, 3)), np.zeros((4, 2)), np.zeros(3), [[1, 2, math.nan]] * 2):
        with pytest.raises(ValueError, match=r"expected"):
            friedman_nemenyi(wrong)


def test_cliques_by_hand() -> None:
    # Sorted: c 1.0, a 1.8, d 2.9, b 4.3; with 1.5: {c, a}, {a, d}, {d, b}; with 2: {c, a, d}, {d, b}.
    ranks = [1.8, 4.3, 1.0, 2.9]
    assert cliques(ranks, 1.5) == [(2, 0), (0, 3), (3, 1)]
    assert cliques(ranks, 2.0) == [(2, 0, 3), (3, 1)]
    assert cliques(ranks, 0.5) == []
    assert cliques(ranks, 9.0) == [(2, 0, 3, 1)]
    assert cliques([1.0, 2.0], 1.0) == []  # as much as the critical difference is told apart
    with pytest.raises(ValueError, match="critical difference"):
        cliques(ranks, math.nan)


@settings(deadline=None)
@given(
    st.lists(st.integers(10, 60).map(lambda x: x / 10), min_size=1, max_size=10), st.sampled_from([0.35, 1.15, 2.45])
)
def test_cliques_contain_every_pair_without_a_significant_difference(ranks: list[float], critical: float) -> None:
    groups = [set(group) for group in cliques(ranks, critical)]
    for i in range(len(ranks)):
        for j in range(i):
            assert any({i, j} <= group for group in groups) == (abs(ranks[i] - ranks[j]) < critical)
    assert not any(one < other for one in groups for other in groups)
