"""Test metrics: which direction is better, and how values are shown."""

import math
from dataclasses import replace
from typing import Any

import pytest

from headstart.errors import DataError
from headstart.kinds.classification import ACCURACY
from headstart.kinds.metric import Metric, stated_metric
from headstart.kinds.multilabel import MAP
from headstart.kinds.regression import MAE, R2
from headstart.kinds.segmentation import MEAN_IOU

YEARS = replace(MAE, unit="years")


def test_which_way_is_better() -> None:
    values = [0.3, math.nan, 0.1, 0.2]
    assert (ACCURACY.best(values), MAE.best(values)) == (0.3, 0.1)
    assert math.isnan(MAE.best([]))
    assert (ACCURACY.mode, ACCURACY.direction, MAE.mode, MAE.direction) == ("max", "maximize", "min", "minimize")
    assert math.copysign(1, MAE.gain(0.0)) == 1


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        (ACCURACY, 0.9134, "91.3 %"),
        (ACCURACY, math.nan, "–"),
        (MAE, 0.41234, "0.412"),
        (MAE, 12.345, "12.3"),
        (MAE, 1234.5, "1234"),
        (MAE, 0.0, "0.00"),
        (MAE, 1.234e-7, "1.23e-07"),
        (MAE, 4.2e9, "4.2e+09"),
        (YEARS, 3.14159, "3.14 years"),
        (YEARS, math.nan, "–"),
    ],
)
def test_values(metric: Metric, value: float, text: str) -> None:
    assert metric.text(value) == text


def test_differences_intervals_and_headings() -> None:
    assert (ACCURACY.size(0.018), YEARS.size(0.41234)) == ("1.8 points", "0.412 years")
    assert (ACCURACY.interval(0.901, 0.925), MAE.interval(0.2, 0.6123)) == ("[90.1, 92.5]", "[0.200, 0.612]")
    assert MAE.interval(-0.0004, 0.612) == "[-0.0004, 0.6120]"  # a bound that is not zero does not read as zero
    assert MAE.interval(math.nan, math.nan) == "–"
    assert [metric.heading("test") for metric in (ACCURACY, MAE, YEARS)] == ["test (%)", "test mae", "test mae (years)"]
    assert [metric.axis("test") for metric in (ACCURACY, YEARS)] == ["test accuracy (%)", "test mae (years)"]
    assert [metric.named(0.5) for metric in (ACCURACY, YEARS)] == ["50.0 %", "mae 0.500 years"]
    assert (ACCURACY.exact_difference(0.0133), MAE.exact_difference(-0.25)) == ("+1.33 points", "-0.25")


def test_an_abbreviation_keeps_its_capitals() -> None:
    assert (MEAN_IOU.axis("test"), MAP.axis("test"), R2.axis("test")) == (
        "test mean IoU (%)",
        "test mAP (%)",
        "test R²",
    )


def test_a_value_has_to_be_possible() -> None:
    ACCURACY.check("test/accuracy", 1.0)
    MAE.check("test/mae", 5.0)
    with pytest.raises(DataError, match=r"test/accuracy of 1\.5, which is not between 0 and 1"):
        ACCURACY.check("test/accuracy", 1.5)
    with pytest.raises(DataError, match="test/mae of -1, which is not possible"):
        MAE.check("test/mae", -1.0)


def test_rounding_is_relative_where_values_are_no_shares() -> None:
    assert ACCURACY.agrees(0.9, 0.90009)
    assert not ACCURACY.agrees(0.9, 0.9002)
    assert MAE.agrees(50_000, 50_001)
    assert not MAE.agrees(5e-6, 5.1e-6)


def test_run_json_may_state_the_unit() -> None:
    assert stated_metric(MAE, None) == MAE
    assert stated_metric(MAE, {"name": "mae", "higher_is_better": False, "unit": "years"}) == YEARS
    other = stated_metric(MAE, {"name": "r2", "higher_is_better": True, "unit": None})
    assert (other.name, other.higher_is_better, other.bounds) == ("r2", True, (-math.inf, math.inf))


@pytest.mark.parametrize(
    "stated",
    [
        [],
        {},
        {"name": "mae"},
        {"name": "mae", "higher_is_better": 0},
        {"name": "mae", "higher_is_better": True},
        {"name": "mae", "higher_is_better": False, "unit": "%"},
        {"name": "a/b", "higher_is_better": False},
        {"name": "m" * 50, "higher_is_better": False},
        {"name": "mae", "higher_is_better": False, "unit": "a\nb"},
        {"name": "mae", "higher_is_better": False, "unit": "x" * 21},
        {"name": "mae", "higher_is_better": False, "unit": 3},
    ],
)
def test_wrong_metrics_are_refused(stated: Any) -> None:
    with pytest.raises(DataError, match=r"run\.json"):
        stated_metric(MAE, stated)
