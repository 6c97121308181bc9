"""Test the reasons why temperature scaling makes a calibration worse."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from headstart.comparison.panels import Panel
from headstart.comparison.table import RunGroup, Statistic
from headstart.kinds.class_scores import scores_on_test as scores_of
from headstart.reports.calibration import worse_calibration


@dataclass(frozen=True)
class Said:
    targets: Any
    probabilities: Any


def said(right: float, sure: float, count: int, hard: float = 0.0) -> Said:
    """Predictions of three classes that are ``sure`` of the first, which is true for a share ``right`` of them.

    Of the others, a share ``hard`` of all gave the true class next to nothing.
    """
    places = np.arange(count) / count
    targets = np.where(places < right, 0, 1)
    probabilities = np.tile([sure, 1 - sure, 0.0], (count, 1))
    probabilities[places >= 1 - hard, 1:] = [1e-6, 1 - sure - 1e-6]
    return Said(targets, probabilities)


def analysis(*pairs: tuple[Said, Said]) -> Any:
    """Return an analysis of runs of one row, each with predictions on test and validation."""
    found = {str(number): SimpleNamespace(scores=scores_of(*pair)) for number, pair in enumerate(pairs)}
    runs = tuple(SimpleNamespace(id=name) for name in found)
    test = Statistic(0.8, 0.01, len(runs))
    group = RunGroup({"dataset": "ants", "strategy": "knn"}, runs, test, test)  # type: ignore[arg-type]
    return SimpleNamespace(panels=[Panel("ants", ("strategy",), (group,), (), {})], evidence=found)


HARD = said(0.8, 0.8, 400, hard=0.1), said(0.8, 0.8, 400, hard=0.1)
OTHER = said(0.8, 0.8, 400), said(0.6, 0.8, 400)


@pytest.mark.parametrize(
    ("runs", "reasons"),
    [
        (
            [HARD],
            [
                "raises ECE there, too",
                "10.0 % of these images give their true class a probability below 1 %. They carry",
            ],
        ),
        ([OTHER], ["without raising ECE there", "On test, log-loss rises", "differ from the test images"]),
        ([HARD, HARD], ["knn worse: ECE rises from 0.0 to"]),
        ([(said(0.6, 0.8, 400), said(0.6, 0.8, 400))], []),  # overconfident on both: mended
        ([(said(0.8, 0.8, 400), said(0.8, 0.8, 400))], []),  # right as it is
    ],
)
def test_why_it_is_worse(runs: list[tuple[Said, Said]], reasons: list[str]) -> None:
    lines = worse_calibration(analysis(*runs))
    assert len(lines) == bool(reasons)
    for reason in reasons:
        assert reason in lines[0]


def test_without_validation_there_is_no_finding() -> None:
    found = analysis(HARD)
    found.evidence = {"0": SimpleNamespace(scores=scores_of(HARD[0]))}
    assert worse_calibration(found) == []


def test_ece_may_rise_while_log_loss_falls() -> None:
    """All predictions on validation are too sure; on test most are calibrated, and some are far too sure."""
    validation, well, bad = said(0.6, 0.8, 400), said(0.8, 0.8, 340), said(0.0, 0.999, 60)
    test = Said(np.concatenate([well.targets, bad.targets]), np.concatenate([well.probabilities, bad.probabilities]))
    (line,) = worse_calibration(analysis((test, validation)))
    assert "On test, log-loss falls, too" in line
