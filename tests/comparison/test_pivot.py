"""Test which rows are bold."""

import math
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.comparison.comparison import Comparison
from headstart.comparison.panels import Panel
from headstart.comparison.pivot import best_rows, pivot
from headstart.comparison.table import RunGroup, Statistic
from headstart.records.runs import Run
from headstart.statistics import PairedDifference

MAE = {"name": "mae", "higher_is_better": False, "unit": ""}
CLASSIFIER, REGRESSION = Run(Path("a"), {}), Run(Path("b"), {"task": "regression", "primary": MAE})


def panel(means: dict[str, float], half: float = math.nan, run: Run = CLASSIFIER) -> Panel:
    """Return a panel of groups with these means, whose own intervals have the half width ``half``."""
    groups = []
    for name, mean in means.items():
        bounds = None if math.isnan(half) else (mean - half, mean + half)
        test = Statistic(mean, 0.01, 3, bounds)
        groups.append(RunGroup({"dataset": "ants", "strategy": name}, (run,), test, test))
    return Panel("ants", ("strategy",), tuple(groups), (), {"dataset": "ants"})


def compared(a: str, b: str, p: float) -> Comparison:
    return Comparison("ants", a, b, PairedDifference(0.1, 0, 0, p, 1, 3, 100, "test"), p, "")


@pytest.mark.parametrize(
    ("alike", "half", "bold"),
    [
        ({"second", "third"}, 0.5, {"best", "second", "third"}),
        ({"third"}, 0.5, {"best"}),  # the second is worse than the best and above the third
        ({"second", "fourth"}, 0.5, {"best", "second"}),
        ({"second", "third", "fourth"}, 0.25, {"best", "second", "third"}),  # the fourth is far below
        (set(), 0.5, {"best"}),
    ],
)
def test_bold_follows_the_means_without_a_gap(alike: set[str], half: float, bold: set[str]) -> None:
    means = {"third": 0.7, "best": 0.9, "fourth": 0.6, "second": 0.8}
    comparisons = [compared("best", name, 0.5 if name in alike else 0.001) for name in means if name != "best"]
    assert best_rows(panel(means, half), comparisons) == bold


def test_the_lowest_error_is_the_best() -> None:
    means = {"third": 0.7, "worst": 0.9, "best": 0.6, "second": 0.65}
    comparisons = [compared("best", name, p) for name, p in (("second", 0.5), ("third", 0.001), ("worst", 0.5))]
    assert best_rows(panel(means, 0.5, REGRESSION), comparisons) == {"best", "second"}
    assert best_rows(panel(means, 0.02, REGRESSION), comparisons) == {"best"}


def test_rows_are_sorted_by_the_metric_or_by_places_where_metrics_differ() -> None:
    accuracies, errors = panel({"a": 0.9, "b": 0.8, "c": 0.7}), panel({"a": 40.0, "b": 9.0, "c": 10.0}, run=REGRESSION)
    assert pivot([accuracies], {}).rows == ("a", "b", "c")
    assert pivot([errors], {}).rows == ("b", "c", "a")
    assert pivot([accuracies, errors], {}).rows == ("b", "a", "c")  # places 1 and 0, 0 and 2, 2 and 1


def test_what_was_not_compared_is_not_bold() -> None:
    means = {"best": 0.9, "second": 0.9, "third": 0.8}
    assert best_rows(panel(means), [compared("best", "third", 0.5)]) == {"best"}
    assert best_rows(panel({"alone": 0.9}), []) == frozenset()


@given(st.lists(st.integers(0, 20), min_size=2, max_size=8), st.randoms(use_true_random=False), st.floats(0.01, 0.3))
def test_no_row_in_bold_lies_below_one_that_is_not(values: list[int], random: object, half: float) -> None:
    means = {f"row{number}": value / 20 for number, value in enumerate(values)}
    comparisons = [compared(a, b, random.choice([0.001, 0.5])) for a, b in combinations(means, 2)]  # type: ignore[attr-defined]
    bold = best_rows(panel(means, half), comparisons)
    least = min(means[name] for name in bold)
    assert max(means.values()) == max(means[name] for name in bold)
    assert all(name in bold for name in means if means[name] > least)
    assert least >= max(means.values()) - half - 1e-12
