"""Several comparisons at once: adjusted p-values, average ranks and who cannot be told apart."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from headstart.statistics.arrays import Floats, check_share, finite

DECIMALS = 12  # scores that differ by rounding alone are tied


@dataclass(frozen=True)
class FriedmanNemenyi:
    """K treatments ranked within each block (data set, or data set and seed), best first."""

    average_ranks: Floats
    """(K,), 1 = best in every block."""
    p_value: float
    """Friedman's test that all treatments are alike."""
    critical_difference: float
    """Average ranks that differ by this much or more are told apart."""
    pairwise: Floats
    """(K, K), Nemenyi's p for each pair."""
    blocks: int


def bonferroni(p_values: ArrayLike) -> Floats:
    """Return the p-values (m,), each times m, the number of them, and 1 at most; NaN stays NaN and does not count.

    A step-wise correction, such as Holm's, finds a little more but has no intervals that agree with it. This one has:
    a corrected p is below alpha if and only if the interval at the level 1 - alpha / m leaves out zero.
    ValueError outside 0 to 1.
    """
    given: Floats = np.asarray(p_values, dtype=np.float64)
    if given.ndim != 1:
        raise ValueError(f"The p-values have {given.ndim} axes, expected 1.")
    known = ~np.isnan(given)
    if ((given[known] < 0) | (given[known] > 1)).any():
        raise ValueError("A p-value is below 0 or above 1.")
    return np.minimum(given * known.sum(), 1)


def friedman_nemenyi(scores: ArrayLike, alpha: float = 0.05) -> FriedmanNemenyi:
    """Friedman's test and Nemenyi's for every pair, on scores (blocks, treatments), higher is better.

    Demšar 2006, Statistical comparisons of classifiers over multiple data sets, JMLR 7: the critical difference is
    q √(k (k + 1) / (6 n)) with q from the studentised range at ``alpha``. Blocks have to be independent; runs on
    one data set that differ in the seed are blocks only for statements about that data set.
    ValueError below two blocks or three treatments, for NaN or infinity.
    """
    table = finite(scores, "The table of scores", 2)
    check_share(alpha, "Alpha")
    blocks, count = table.shape
    if blocks < 2 or count < 3:
        raise ValueError(f"Friedman's test has {blocks} blocks and {count} treatments, expected at least 2 and 3.")
    from scipy.stats import friedmanchisquare, rankdata, studentized_range

    table = np.round(table, DECIMALS)
    average = rankdata(-table, axis=1).mean(axis=0)
    alike = bool((table == table[:, :1]).all())  # no ranks at all: nothing speaks against "all alike"
    p_value = 1.0 if alike else float(friedmanchisquare(*table.T).pvalue)
    unit = math.sqrt(count * (count + 1) / (6 * blocks))
    critical = float(studentized_range.ppf(1 - alpha, count, np.inf)) / math.sqrt(2) * unit
    apart = np.abs(average[:, None] - average)
    pairwise = studentized_range.sf(apart / unit * math.sqrt(2), count, np.inf)
    np.fill_diagonal(pairwise, 1.0)
    return FriedmanNemenyi(average, p_value, critical, pairwise, blocks)


def cliques(average_ranks: ArrayLike, critical_difference: float) -> list[tuple[int, ...]]:
    """Maximal groups of two or more treatments that are not told apart: the bars of a critical-difference diagram.

    Each is a tuple of indices into ``average_ranks`` (K,), best first; groups come best first and may overlap.
    """
    ranks = finite(average_ranks, "The average ranks", 1)
    if not critical_difference > 0:
        raise ValueError(f"The critical difference is {critical_difference}, expected more than 0.")
    order = np.argsort(ranks, kind="stable")
    groups: list[tuple[int, ...]] = []
    reached = 0  # how far down the best groups so far go
    for start, first in enumerate(order):
        end = start + int(np.sum(ranks[order[start:]] - ranks[first] < critical_difference))
        if end > reached and end - start > 1:
            groups.append(tuple(int(index) for index in order[start:end]))
        reached = max(reached, end)
    return groups
