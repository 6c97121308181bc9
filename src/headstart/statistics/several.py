"""Compare several groups: adjusted p-values, average ranks, and groups without significant differences."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from headstart.statistics.arrays import Floats, check_probability, finite

DECIMALS = 12  # scores that differ by rounding only are tied


@dataclass(frozen=True)
class FriedmanNemenyi:
    """Ranks of K treatments within blocks (data set, or data set and seed), and tests on them."""

    average_ranks: Floats
    """(K,), 1 = best in every block."""
    p_value: float
    """Friedman's p that all treatments are equal."""
    critical_difference: float
    """The smallest significant difference of average ranks."""
    pairwise: Floats
    """(K, K), Nemenyi's p for each pair."""
    blocks: int


def bonferroni(p_values: ArrayLike) -> Floats:
    """Return the p-values (m,) times m, at most 1; NaN stays NaN and does not count towards m.

    A step-wise correction, such as Holm's, has slightly more power but no matching intervals. This one matches: a
    corrected p is below alpha if and only if the interval at level 1 - alpha / m excludes zero. Raises ValueError for
    values outside 0 to 1.
    """
    given: Floats = np.asarray(p_values, dtype=np.float64)
    if given.ndim != 1:
        raise ValueError(f"The p-values have {given.ndim} axes, expected 1.")
    known = ~np.isnan(given)
    if ((given[known] < 0) | (given[known] > 1)).any():
        raise ValueError("A p-value is below 0 or above 1.")
    return np.minimum(given * known.sum(), 1)


def friedman_nemenyi(scores: ArrayLike, alpha: float = 0.05) -> FriedmanNemenyi:
    """Return Friedman's test, and Nemenyi's for every pair, on scores (blocks, treatments); higher is better.

    The critical difference is q √(k (k + 1) / (6 n)) with q from the studentised range at ``alpha`` (Demšar 2006,
    Statistical comparisons of classifiers over multiple data sets, JMLR 7). Blocks must be independent; runs on one
    data set with different seeds are blocks only for statements about that data set. Raises ValueError below two blocks
    or three treatments, and for NaN or infinity.
    """
    table = finite(scores, "The table of scores", 2)
    check_probability(alpha, "Alpha")
    blocks, count = table.shape
    if blocks < 2 or count < 3:
        raise ValueError(f"Friedman's test has {blocks} blocks and {count} treatments, expected at least 2 and 3.")
    from scipy.stats import friedmanchisquare, rankdata, studentized_range

    table = np.round(table, DECIMALS)
    average = rankdata(-table, axis=1).mean(axis=0)
    equal = bool((table == table[:, :1]).all())  # without ranks, nothing contradicts equality
    p_value = 1.0 if equal else float(friedmanchisquare(*table.T).pvalue)
    unit = math.sqrt(count * (count + 1) / (6 * blocks))
    critical = float(studentized_range.ppf(1 - alpha, count, np.inf)) / math.sqrt(2) * unit
    gaps = np.abs(average[:, None] - average)
    pairwise = studentized_range.sf(gaps / unit * math.sqrt(2), count, np.inf)
    np.fill_diagonal(pairwise, 1.0)
    return FriedmanNemenyi(average, p_value, critical, pairwise, blocks)


def cliques(average_ranks: ArrayLike, critical_difference: float) -> list[tuple[int, ...]]:
    """Return the maximal groups without significant differences: the bars of a critical-difference diagram.

    Each group is a tuple of two or more indices into ``average_ranks`` (K,), best first. Groups come best first and may
    overlap.
    """
    ranks = finite(average_ranks, "The average ranks", 1)
    if not critical_difference > 0:
        raise ValueError(f"The critical difference is {critical_difference}, expected more than 0.")
    order = np.argsort(ranks, kind="stable")
    groups: list[tuple[int, ...]] = []
    reached = 0  # the end of the furthest group so far
    for start, first in enumerate(order):
        end = start + int(np.sum(ranks[order[start:]] - ranks[first] < critical_difference))
        if end > reached and end - start > 1:
            groups.append(tuple(int(index) for index in order[start:end]))
        reached = max(reached, end)
    return groups
