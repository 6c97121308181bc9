"""Intervals, paired comparisons, several comparisons at once, power and sources of variance, on plain arrays.

Knows no run. Importing it loads neither scipy nor statsmodels: what a function needs of them it loads when called.
"""

from headstart.reports.statistics.intervals import Interval, bootstrap_mean, t_interval
from headstart.reports.statistics.paired import PairedDifference, paired_both, paired_pictures, paired_runs
from headstart.reports.statistics.power import (
    Deviations,
    Needed,
    pictures_needed,
    runs_needed,
    runs_needed_both,
    sample_needed,
)
from headstart.reports.statistics.several import FriedmanNemenyi, cliques, friedman_nemenyi, holm
from headstart.reports.statistics.variance import VarianceSource, VarianceSources, variance_sources
from headstart.reports.statistics.verdict import verdict

__all__ = [
    "Deviations",
    "FriedmanNemenyi",
    "Interval",
    "Needed",
    "PairedDifference",
    "VarianceSource",
    "VarianceSources",
    "bootstrap_mean",
    "cliques",
    "friedman_nemenyi",
    "holm",
    "paired_both",
    "paired_pictures",
    "paired_runs",
    "pictures_needed",
    "runs_needed",
    "runs_needed_both",
    "sample_needed",
    "t_interval",
    "variance_sources",
    "verdict",
]
