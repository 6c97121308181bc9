"""Test that a run records the choices of validation and their candidates, and that reports count them."""

import inspect
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import SMALLEST, make_strategy, make_trainer, trained_run

from headstart import strategies
from headstart.data import Digits
from headstart.reports import read_runs
from headstart.reports.analysis import analyse
from headstart.strategies import (
    GradientStrategy,
    Knn,
    LinearProbe,
    LpFt,
    NearestCentroid,
    Ridge,
    SolvedStrategy,
    Strategy,
    WiseFt,
)

OWN: dict[type[Strategy], dict[str, int]] = {
    LinearProbe: {"l2": 7},
    Ridge: {"l2": 7},
    Knn: {"neighbours": 7},
    NearestCentroid: {},
    LpFt: {"epoch": 7, "l2": 13},
    WiseFt: {"epoch": 7, "l2": 13, "mix": 11},
}
ABSTRACT = (Strategy, GradientStrategy, SolvedStrategy)
EVERY = [
    one
    for one in vars(strategies).values()
    if inspect.isclass(one) and issubclass(one, Strategy) and one not in ABSTRACT
]


@pytest.mark.parametrize("cls", EVERY)
def test_each_strategy_counts_what_it_chooses(cls: type[Strategy]) -> None:
    if cls in OWN:
        assert make_strategy(cls).choices(7) == OWN[cls]
        return
    # Of the others validation chooses the epoch alone: no step of their own reads validation images.
    assert cls.choices is Strategy.choices
    assert Strategy.choices(None, 7) == {"epoch": 7}  # type: ignore[arg-type]
    for name in ("fit", "start_head", "finish", "refit"):
        own = getattr(cls, name)
        assert own is getattr(GradientStrategy, name) or "val" not in inspect.getsource(own)


@pytest.mark.parametrize("cls", [LinearProbe, Ridge, Knn, NearestCentroid])
def test_rows_of_scores_are_the_candidates(cls: type[Strategy], digits: Digits, tmp_path: Path) -> None:
    strategy: Any = make_strategy(cls)
    strategy.fit(make_trainer(tmp_path), digits)
    rows = pd.read_csv(tmp_path / "metrics.csv")
    assert strategy.choices(len(rows)).get(strategy.picked, 1) == len(rows)
    assert not strategy.picked or rows[strategy.picked].nunique() == len(rows)


def test_a_run_and_its_report_say_all_of_it(tmp_path: Path) -> None:
    settings = ["strategy=wise_ft", "strategy.l2=[1,0.1,0.01]", "strategy.mixes_tried=[0,0.5,1]"]
    run = json.loads((trained_run(tmp_path, *SMALLEST, *settings) / "run.json").read_text())
    assert run["selection"]["choices"] == {"epoch": 2, "l2": 3, "mix": 3}
    assert len(run["selected"]["mixes"]) == 3
    rule = run["selection"]["rule"]
    assert "of 2, the best on validation; l2 " in rule
    assert "of the probe, the best of 3; mix " in rule
    assert rule.endswith(", the best of 3")
    (budget,) = analyse(read_runs([tmp_path])).budgets
    assert budget.rule == "best epoch of 2, l2 of 3, mix of 3, on validation"
    assert budget.candidates == 8
