"""Test comparisons of regression runs: the lowest error is the best."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import write_regression_run, write_run, write_tested_run
from scipy.stats import ttest_1samp, ttest_rel

from headstart.comparison.comparison import compare
from headstart.comparison.curves import read_curves
from headstart.comparison.evidence import gather
from headstart.comparison.mean_score import with_interval
from headstart.comparison.panels import make_panels
from headstart.comparison.table import group_runs
from headstart.errors import ConfigError
from headstart.records.runs import Problem, Run, read_run, read_runs

RNG = np.random.default_rng(0)
CLEAR = {"scratch": 4.0, "head_only": 2.0, "finetune_all": 1.0}


def write_three(root: Path, seeds: int = 3, **changes: Any) -> list[Run]:
    """Write runs of three strategies whose errors differ clearly."""
    for strategy, size in CLEAR.items():
        for seed in range(seeds):
            write_regression_run(root, strategy, seed, RNG.normal(0, size, 200), RNG.normal(0, size, 50), **changes)
    return list(read_runs([root]).runs)


def test_the_lowest_error_comes_first(tmp_path: Path) -> None:
    (panel,) = make_panels(group_runs(write_three(tmp_path)))
    assert [group.label for group in panel.groups] == ["finetune_all", "head_only", "scratch"]
    assert panel.best.label == "finetune_all"
    assert panel.metric.name == "mae"
    assert panel.groups[0].test.mean < panel.groups[1].test.mean < panel.groups[2].test.mean
    curves = read_curves(panel)["scratch"]
    assert set(curves) == {"train/mae", "train/loss", "validation/mae", "validation/loss"}


def test_verdicts_say_which_error_is_lower(tmp_path: Path) -> None:
    runs = write_three(tmp_path, unit="years")
    evidence, problems = gather(runs)
    assert not problems
    (panel,) = make_panels(group_runs(runs))
    made = compare(panel, evidence)
    assert [(one.a, one.b) for one in made] == [
        ("finetune_all", "head_only"),
        ("finetune_all", "scratch"),
        ("head_only", "scratch"),
    ]
    for one in made:
        assert one.significant
        assert one.result.difference < 0
        assert one.result.low <= one.result.difference <= one.result.high < 0
        assert one.verdict.startswith(f"{one.a} beats {one.b}: ")
        assert " years lower mae [" in one.verdict
    bounds = made[0].verdict.partition("[")[2].partition("]")[0].split(", ")
    assert [float(bound) for bound in bounds] == pytest.approx([-made[0].result.high, -made[0].result.low], abs=0.006)


def test_a_verdict_names_what_cannot_be_separated(tmp_path: Path) -> None:
    errors = RNG.normal(0, 1, 40)
    for seed in range(3):
        write_regression_run(tmp_path, "scratch", seed, errors + RNG.normal(0, 0.1, 40))
        write_regression_run(tmp_path, "head_only", seed, errors + RNG.normal(0, 0.1, 40))
    runs = read_runs([tmp_path]).runs
    (panel,) = make_panels(group_runs(runs))
    (one,) = compare(panel, gather(runs)[0])
    assert not one.significant
    assert f"cannot separate {one.a} (" in one.verdict
    assert " lower mae [" in one.verdict


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_paired_test_agrees_with_scipy_on_the_same_arrays(tmp_path: Path, seeds: int) -> None:
    for seed in range(seeds):
        shared = RNG.normal(0, 1, 30)
        write_regression_run(tmp_path, "scratch", seed, shared + RNG.normal(0, 0.5, 30))
        write_regression_run(tmp_path, "head_only", seed, shared)
    runs = read_runs([tmp_path]).runs
    evidence, _ = gather(runs)
    (panel,) = make_panels(group_runs(runs))
    if seeds > 1:  # without single images: by the scores of runs
        (one,) = compare(panel, {})
        of = {group.label: [run.test for run in group.runs] for group in panel.groups}
        expected = ttest_rel(of[one.a], of[one.b])
    else:
        (one,) = compare(panel, evidence)
        of = {group.label: evidence[group.runs[0].id].per_image for group in panel.groups}
        expected = ttest_rel(of[one.a], of[one.b])
    assert one.result.p_value == pytest.approx(expected.pvalue)
    assert one.result.difference == pytest.approx(np.mean(of[one.a]) - np.mean(of[one.b]))
    interval = expected.confidence_interval(0.95)
    assert (one.result.low, one.result.high) == pytest.approx((interval.low, interval.high))


def test_the_verdict_on_equal_predictions_fits_the_task(tmp_path: Path) -> None:
    errors = RNG.normal(0, 1, 20)
    for strategy in ("scratch", "head_only"):
        write_regression_run(tmp_path, strategy, 0, errors)
    runs = read_runs([tmp_path]).runs
    (panel,) = make_panels(group_runs(runs))
    (one,) = compare(panel, gather(runs)[0])
    assert one.verdict.endswith("score the same on the same 20 test images")


def test_the_interval_is_students_over_images_and_stays_above_zero(tmp_path: Path) -> None:
    errors = RNG.normal(0, 1, 25)
    write_regression_run(tmp_path, "scratch", 0, errors)
    write_regression_run(tmp_path / "other", "scratch", 0, np.array([0.0, 0.0, 9.0]))
    for root, of in ((tmp_path / "scratch-0-0.1", errors), (tmp_path / "other", np.array([0.0, 0.0, 9.0]))):
        runs = read_runs([root]).runs
        (group,) = group_runs(runs)
        found = with_interval(group, gather(runs)[0]).test.interval
        expected = ttest_1samp(np.abs(of), 0).confidence_interval(0.95)
        assert found == pytest.approx((max(expected.low, 0.0), expected.high))


def test_without_predictions_the_interval_is_that_over_runs(tmp_path: Path) -> None:
    for seed in range(3):
        folder = write_regression_run(tmp_path, "scratch", seed, RNG.normal(0, 1, 25), pictures={"test": 25})
        (folder / "predictions.csv").unlink()
    runs = read_runs([tmp_path]).runs
    (group,) = group_runs(runs)
    evidence, problems = gather(runs)
    assert not evidence
    assert {problem.reason for problem in problems} == {"predictions.csv is missing, so only its mae is compared"}
    expected = ttest_1samp([run.test for run in runs], 0).confidence_interval(0.95)
    assert with_interval(group, evidence).test.interval == pytest.approx((expected.low, expected.high))


def test_tuning_takes_the_lowest_error_on_validation(tmp_path: Path) -> None:
    for lr, size in ((0.1, 3.0), (0.01, 1.0), (0.001, 2.0)):
        for seed in range(2):
            errors = np.full(10, size)
            write_regression_run(tmp_path, "scratch", seed, errors, errors, lr=lr)
    (group,) = group_runs(read_runs([tmp_path]).runs, tune=["lr"])
    assert group.tuned == {"optimizer.lr": 0.01}
    assert group.test.mean == 1.0


def test_tasks_are_never_compared_with_each_other(tmp_path: Path) -> None:
    runs = write_three(tmp_path / "numbers", 2)
    for strategy, share in (("scratch", 0.5), ("head_only", 0.9)):
        for seed in range(2):
            write_tested_run(tmp_path / "classes", strategy, seed, RNG.random(50) < share, id=f"{strategy} {seed}")
    runs = list(read_runs([tmp_path]).runs)
    panels = make_panels(group_runs(runs))
    assert [(panel.title, panel.metric.name, len(panel.groups)) for panel in panels] == [
        ("classification", "accuracy", 2),
        ("regression, mae", "mae", 3),
    ]
    evidence, _ = gather(runs)
    assert {one.panel for panel in panels for one in compare(panel, evidence)} == {"classification", "regression, mae"}
    by = make_panels(group_runs(runs, by=["strategy"], compare=[]))
    assert [panel.title for panel in by] == ["classification", "regression, mae"]
    with pytest.raises(ConfigError, match="different tasks cannot be compared"):
        group_runs(runs, by=["task"])


def test_metrics_and_units_are_never_mixed(tmp_path: Path) -> None:
    write_regression_run(tmp_path / "a", "scratch", 0, np.ones(5))
    write_regression_run(tmp_path / "b", "head_only", 0, np.ones(5), unit="years")
    primary = {"name": "rmse", "higher_is_better": False, "unit": ""}
    metrics = {"test/rmse": 1.0, "test/mae": 1.0}
    write_regression_run(tmp_path / "c", "ridge", 0, np.ones(5), primary=primary, metrics=metrics)
    runs = read_runs([tmp_path]).runs
    assert [panel.title for panel in make_panels(group_runs(runs))] == [
        "regression, mae",
        "regression, mae (years)",
        "regression, rmse",
    ]
    _, problems = gather(runs)
    assert [problem.reason for problem in problems] == [
        "predictions.csv gives no rmse for single images, so only its rmse is compared"
    ]


def test_predictions_that_contradict_run_json_do_not_count(tmp_path: Path) -> None:
    metrics = {"test/mae": 0.5, "validation/mae": 0.5}
    write_regression_run(tmp_path, "scratch", 0, np.ones(5), metrics=metrics)
    evidence, (problem,) = gather(read_runs([tmp_path]).runs)
    assert not evidence
    assert problem.reason.startswith("predictions.csv has a mae of 1, run.json says 0.5")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"task": "ranking"}, "run.json has the task 'ranking'; this version knows"),
        ({"task": ["regression"]}, "run.json has the task"),
        ({"primary": "mae"}, "a primary metric that is not an object"),
        ({"metrics": {"test/accuracy": 0.5}}, "run.json has no test/mae"),
        ({"metrics": {"test/mae": -1.0}}, "test/mae of -1, which is not possible"),
        ({"metrics": {"test/mae": math.nan}}, "run.json has no test/mae"),
        ({"metrics": {"test/mae": 1.0, "validation/mae": -2.0}}, "validation/mae of -2"),
    ],
)
def test_impossible_values_are_problems(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    folder = write_regression_run(tmp_path, "scratch", 0, np.ones(5))
    content = json.loads((folder / "run.json").read_text()) | change
    (folder / "run.json").write_text(json.dumps(content))
    write_run(tmp_path, "head_only", 0, 0.5)
    found = read_run(folder)
    assert isinstance(found, Problem)
    assert reason in found.reason
    assert len(read_runs([tmp_path]).runs) == 1  # the other one is read all the same
