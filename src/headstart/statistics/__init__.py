"""Intervals, paired comparisons, multiple comparisons, power and sources of variance, on plain arrays.

It knows nothing of runs. Importing it loads neither scipy nor statsmodels: each function loads what it needs.
"""

from headstart.statistics.accuracy import accuracy_interval, score_interval
from headstart.statistics.intervals import Interval, bootstrap_mean
from headstart.statistics.mean_error import MeanError, mean_interval, two_way_error
from headstart.statistics.paired import PairedDifference, paired_both, paired_runs
from headstart.statistics.power import (
    Deviations,
    Needed,
    images_needed,
    runs_needed,
    runs_needed_both,
    sample_needed,
)
from headstart.statistics.several import FriedmanNemenyi, bonferroni, cliques, friedman_nemenyi
from headstart.statistics.variance import VarianceSource, VarianceSources, variance_sources

__all__ = [
    "Deviations",
    "FriedmanNemenyi",
    "Interval",
    "MeanError",
    "Needed",
    "PairedDifference",
    "VarianceSource",
    "VarianceSources",
    "accuracy_interval",
    "bonferroni",
    "bootstrap_mean",
    "cliques",
    "friedman_nemenyi",
    "images_needed",
    "mean_interval",
    "paired_both",
    "paired_runs",
    "runs_needed",
    "runs_needed_both",
    "sample_needed",
    "score_interval",
    "two_way_error",
    "variance_sources",
]
