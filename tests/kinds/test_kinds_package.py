"""Test which kind of target a run has."""

import subprocess
import sys
from typing import Any

import pytest

from headstart.errors import DataError
from headstart.kinds import KINDS, is_share, kind_of, metric_of, metric_or_default, task_name


def test_a_run_without_a_task_is_of_classification() -> None:
    assert kind_of({}).name == "classification"
    assert kind_of({"task": "regression"}) is KINDS["regression"]
    assert [kind.name for kind in KINDS.values()] == list(KINDS)


@pytest.mark.parametrize("task", [None, 3, [], "nonsense", "x\n" * 1000])
def test_an_unknown_task_is_refused_in_one_line(task: Any) -> None:
    with pytest.raises(DataError, match="this version knows classification, regression") as found:
        kind_of({"task": task})
    assert "\n" not in str(found.value)
    assert len(str(found.value)) < 200
    assert metric_or_default({"task": task}).name == "accuracy"


def test_only_runs_of_one_task_and_metric_share_a_name() -> None:
    years = {"task": "regression", "primary": {"name": "mae", "higher_is_better": False, "unit": "years"}}
    other = {"task": "regression", "primary": {"name": "rmse", "higher_is_better": False, "unit": ""}}
    names = [task_name(record) for record in ({}, {"task": "regression"}, years, other, {"task": 1})]
    assert names == ["classification", "regression", "regression, mae (years)", "regression, rmse", "unknown"]
    assert metric_of(other).name == "rmse"


def test_shares_are_known_by_their_names() -> None:
    assert is_share("test/accuracy")
    assert is_share("validation/balanced_accuracy")
    assert not is_share("test/mae")
    assert not is_share("train/loss")


def test_torch_is_not_loaded() -> None:
    code = "import sys; import headstart.kinds, headstart.records.predictions; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
