"""Test comparisons: pairs of runs, refusals of unfair comparisons, tuning budgets, and tables for papers."""

import json
from pathlib import Path

import numpy as np
import pytest
from made_runs import write_run, write_tested_run
from scipy import stats

from headstart.errors import ConfigError, DataError
from headstart.reports import read_runs
from headstart.reports.analysis import Analysis, Options, analyse
from headstart.reports.renderers.latex import escape_latex, latex_table
from headstart.reports.tables.side_by_side import side_by_side
from headstart.statistics import paired_both


def rights(share: float, seed: int, images: int = 300) -> np.ndarray:
    return np.random.default_rng(seed).random(images) < share


def report(root: Path, **options: object) -> Analysis:
    return analyse(read_runs([root]), Options(**options))  # type: ignore[arg-type]


def test_pairs_are_runs_of_one_seed_on_the_same_images(tmp_path: Path) -> None:
    good, poor = ([rights(share, 10 * seed + number) for seed in range(3)] for number, share in enumerate((0.9, 0.6)))
    for seed in range(3):
        write_tested_run(tmp_path, "lp_ft", seed, good[seed])
        write_tested_run(tmp_path, "scratch", seed, poor[seed])
    write_tested_run(tmp_path, "scratch", 7, rights(0.1, 99))  # has no partner
    (one,) = report(tmp_path).comparisons["ants"]
    assert (one.a, one.b) == ("lp_ft", "scratch")
    assert one.result.pairs == 3
    assert one.result.images == 300
    assert one.result == paired_both(np.stack(good), np.stack(poor))
    assert one.verdict.startswith("lp_ft beats scratch by")


def test_without_predictions_accuracies_are_paired(tmp_path: Path) -> None:
    a, b = [0.8, 0.82, 0.85], [0.7, 0.75, 0.74]
    for seed in range(3):
        write_run(tmp_path, "lp_ft", seed, a[seed])
        write_run(tmp_path, "scratch", seed, b[seed])
    found = report(tmp_path)
    (one,) = found.comparisons["ants"]
    assert one.result.p_value == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert any("predictions.csv is missing" in problem.reason for problem in found.found.problems)


@pytest.mark.parametrize("seeds", [1, 2])
def test_one_test_image_shows_nothing_over_images(seeds: int, tmp_path: Path) -> None:
    for seed in range(seeds):
        for strategy in ("lora", "head_only"):
            write_tested_run(tmp_path, strategy, seed, np.array([True]))
    (found,) = analyse(read_runs([tmp_path])).comparisons.values()
    assert [one.result.images for one in found] == [None]


def test_folds_take_the_corrected_test(tmp_path: Path) -> None:
    a, b = np.array([0.8, 0.82, 0.85, 0.79, 0.9]), np.array([0.7, 0.75, 0.74, 0.76, 0.8])
    for fold in range(5):
        for name, scores in (("lp_ft", a), ("scratch", b)):
            config = {"dataset": {"folds": 5, "fold": fold}, "seeds": {"split": 0}}
            provenance = {"split_fingerprints": {"test": str(fold)}}
            write_run(
                tmp_path / str(fold), name, 0, scores[fold], id=f"{name}{fold}", config=config,
                pictures={"train": 64, "validation": 16, "test": 20}, provenance=provenance,
            )  # fmt: skip
    (one,) = report(tmp_path).comparisons["ants"]
    d = a - b
    t = d.mean() / np.sqrt((1 / 5 + 1 / 4) * d.var(ddof=1))  # Nadeau & Bengio: 20 tested, 80 trained with
    assert one.result.p_value == pytest.approx(2 * stats.t.sf(t, 4))
    assert "corrected" in one.result.method
    assert "folds" in one.verdict or "beats" in one.verdict


def test_p_values_are_corrected_for_the_comparisons_of_a_panel(tmp_path: Path) -> None:
    for seed in range(3):
        for number, name in enumerate(("lp_ft", "head_only", "scratch")):
            write_tested_run(tmp_path, name, seed, rights(0.8 - 0.04 * number, 10 * seed + number))
    every = report(tmp_path).comparisons["ants"]
    assert len(every) == 3
    assert all(one.p_adjusted == min(1, 3 * one.result.p_value) for one in every)
    for one in every:
        assert one.result.level == pytest.approx(1 - 0.05 / 3)
        assert one.significant == (not one.result.low <= 0 <= one.result.high)
    against = report(tmp_path, baseline="scratch").comparisons["ants"]
    assert {frozenset((one.a, one.b)) for one in against} == {
        frozenset(("scratch", "lp_ft")),
        frozenset(("scratch", "head_only")),
    }
    with pytest.raises(ConfigError, match="--baseline scrach: there is no such row"):
        report(tmp_path, baseline="scrach")


def test_no_interval_reaches_beyond_the_largest_possible_difference(tmp_path: Path) -> None:
    for seed, (share, other) in enumerate(((0.9, 0.1), (0.5, 0.5))):
        write_tested_run(tmp_path, "lp_ft", seed, rights(share, seed))
        write_tested_run(tmp_path, "scratch", seed, rights(other, 10 + seed))
    (one,) = report(tmp_path).comparisons["ants"]
    assert (one.result.low, one.result.high) == (-1, 1)
    assert "[-100.0, 100.0]" in one.verdict
    assert one.result.p_value > 0.05


def test_a_difference_lost_by_correction_has_an_interval_with_zero(tmp_path: Path) -> None:
    """Two rows alone: lp_ft beats l2_sp. Among six rows it does not, and the interval includes zero."""
    for seed in range(3):
        right = rights(0.8, seed)
        write_tested_run(tmp_path, "lp_ft", seed, right)
        write_tested_run(tmp_path, "l2_sp", seed, right & rights(0.92, 50 + seed))
    (alone,) = report(tmp_path).comparisons["ants"]
    assert alone.significant
    for name in ("knn", "ridge", "scratch", "lora"):
        for seed in range(3):
            write_tested_run(tmp_path, name, seed, rights(0.5, 90 + seed))
    every = report(tmp_path).comparisons["ants"]
    (one,) = (one for one in every if {one.a, one.b} == {"lp_ft", "l2_sp"})
    assert one.result.p_value == alone.result.p_value
    assert not one.significant
    assert one.result.low < 0 < one.result.high
    assert "cannot separate" in one.verdict


def test_the_interval_of_one_accuracy_counts_test_images(tmp_path: Path) -> None:
    right = rights(0.817, 0, 153)
    for seed in range(3):
        write_tested_run(tmp_path / "a", "nearest_centroid", seed, right)
        write_run(tmp_path / "b", "nearest_centroid", seed, float(right.mean()), pictures={"test": 153})
    for folder in ("a", "b"):
        (group,) = report(tmp_path / folder).groups
        low, high = group.test.interval
        assert low < right.mean() - 0.05
        assert high > right.mean() + 0.04
    one = write_tested_run(tmp_path / "c", "scratch", 0, np.ones(153, dtype=bool))
    low, high = report(one).groups[0].test.interval
    assert (low, high) == pytest.approx((0.975, 1), abs=0.002)


def test_the_interval_of_folds_takes_the_corrected_error(tmp_path: Path) -> None:
    scores = np.array([0.8, 0.82, 0.85, 0.79, 0.9])
    for fold, score in enumerate(scores):
        write_run(
            tmp_path / str(fold), "lp_ft", 0, score, id=f"{fold}", config={"dataset": {"folds": 5, "fold": fold}},
            pictures={"train": 640, "validation": 160, "test": 200},
            provenance={"split_fingerprints": {"test": str(fold)}},
        )  # fmt: skip
    low, high = report(tmp_path).groups[0].test.interval
    half = stats.t(4).ppf(0.975) * np.sqrt((1 / 5 + 1 / 4) * scores.var(ddof=1))
    assert (low, high) == pytest.approx((scores.mean() - half, scores.mean() + half))


def test_different_test_images_are_not_compared(tmp_path: Path) -> None:
    write_tested_run(tmp_path, "lp_ft", 0, rights(0.9, 0))
    write_tested_run(tmp_path, "scratch", 0, rights(0.5, 1), ids=[f"other/{n}.jpg" for n in range(300)])
    with pytest.raises(DataError, match=r"tested on different images \(300 each\)"):
        report(tmp_path)
    assert report(tmp_path, where=["strategy=scratch"]).panels


def test_other_contents_under_the_same_names_are_noticed(tmp_path: Path) -> None:
    for number, name in enumerate(("lp_ft", "scratch")):
        provenance = {"split_fingerprints": {"test": f"content {number}"}}
        write_tested_run(tmp_path, name, 0, rights(0.9, 0), provenance=provenance)
    with pytest.raises(DataError, match="different images"):
        report(tmp_path)


def test_settings_that_explain_it_are_named(tmp_path: Path) -> None:
    for name, split, count in (("lp_ft", None, 300), ("scratch", "val", 100)):
        config = {"dataset": {"test_split": split}}
        write_tested_run(tmp_path, name, 0, rights(0.9, 0, count), config=config)
    with pytest.raises(DataError, match=r"\(300 and 100\).*add --compare dataset.test_split"):
        report(tmp_path)
    assert len(report(tmp_path, by=["strategy"], compare=["dataset.test_split"]).panels) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"selection": {"on": "test/accuracy"}},
        {"config": {"callbacks": {"early_stopping": {"monitor": "test/accuracy"}}}},
        {"provenance": {"split_fingerprints": {"validation": "same", "test": "same"}}},
        {"validation_ids": ["val/0.jpg", "test/7.jpg"]},
    ],
)
def test_selection_on_test_is_refused(tmp_path: Path, changes: dict) -> None:
    right = rights(0.9, 0)
    validation = right[:2] if "validation_ids" in changes else None
    write_tested_run(tmp_path, "lp_ft", 0, right, validation, **changes)
    with pytest.raises(DataError, match="was selected on test"):
        report(tmp_path)


def test_predictions_that_contradict_run_json_are_reported(tmp_path: Path) -> None:
    folder = write_tested_run(tmp_path, "lp_ft", 0, rights(0.9, 0))
    content = json.loads((folder / "run.json").read_text())
    content["metrics"]["test/accuracy"] = 0.99
    (folder / "run.json").write_text(json.dumps(content))
    (problem,) = report(tmp_path).found.problems
    assert "run.json says 99.00 %" in problem.reason


def test_the_budget_counts_what_was_tried(tmp_path: Path) -> None:
    for lr in (0.1, 0.2):
        for seed in (0, 1):
            selection = {"on": "validation/accuracy", "tried": 10, "rule": "epoch 4 of 10, the best on validation"}
            write_run(tmp_path, "scratch", seed, 0.5 + lr, lr=lr, selection=selection)
    (budget,) = report(tmp_path, by=["strategy"], tune=["lr"]).budgets
    assert (budget.runs, budget.settings, budget.seconds) == (4, 2, 40.0)
    assert budget.rule == "best epoch of 10; lr 0.2, the best of 2 on 2 shared seeds, on validation"
    assert budget.candidates == 40


def test_the_budget_counts_all_that_a_run_chose(tmp_path: Path) -> None:
    for seed, choices in enumerate(({"epoch": 10, "l2": 13, "mix": 11}, {"epoch": 10, "l2": 1, "mix": 11})):
        write_run(tmp_path, "wise_ft", seed, 0.5, selection={"rule": "epoch 4 of 10", "tried": 10, "choices": choices})
    (budget,) = report(tmp_path).budgets
    assert budget.rule == "best epoch of 10, l2 of 13, mix of 11 or best epoch of 10, mix of 11, on validation"
    assert budget.candidates == 34 + 21


def test_scores_beyond_accuracy_come_from_the_predictions(tmp_path: Path) -> None:
    right = rights(0.9, 0)
    write_tested_run(tmp_path, "lp_ft", 0, right, rights(0.9, 5, 60))
    found = report(tmp_path)
    expected = -(np.log(0.7) * right.mean() + np.log(0.15) * (1 - right.mean()))
    assert found.score(found.groups[0], "nll").mean == pytest.approx(expected)
    assert found.score(found.groups[0], "ece").mean == pytest.approx(abs(0.7 - right.mean()))
    assert found.score(found.groups[0], "scaled_ece").mean < found.score(found.groups[0], "ece").mean
    names, recalls = found.recalls(found.groups[0])
    assert names == ("ants", "bees", "cats")
    assert recalls.mean() == pytest.approx(right.mean(), abs=0.01)


def test_one_stream_varied_alone_gives_its_deviation(tmp_path: Path) -> None:
    scores = [0.8, 0.85, 0.9]
    for order, score in enumerate(scores):
        config = {"seeds": {"order": order, "head": 0}}
        write_run(tmp_path / str(order), "scratch", 0, score, config=config, id=str(order))
    ((_, group, sources),) = report(tmp_path).variances
    assert group.label == "scratch"
    assert sources.streams.keys() == {"order"}
    assert sources.streams["order"].deviation == pytest.approx(np.std(scores, ddof=1))


def test_the_best_and_its_ties_are_bold_in_latex(tmp_path: Path) -> None:
    for seed in range(3):
        base = rights(0.8, seed)
        write_tested_run(tmp_path, "lp_ft", seed, base)
        write_tested_run(tmp_path, "l2_sp", seed, base ^ (np.arange(300) < 1))
        write_tested_run(tmp_path, "scratch", seed, rights(0.3, 50 + seed))
    found = report(tmp_path)
    text = latex_table(side_by_side(found), "note")
    bold = [line.split(" &")[0] for line in text.splitlines() if "mathbf" in line]
    assert sorted(bold) == [r"l2\_sp", r"lp\_ft"]
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 1
    assert escape_latex("50 % of a_b & {c}") == r"50 \% of a\_b \& \{c\}"
