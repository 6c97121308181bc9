"""Test which row a report calls the best."""

from pathlib import Path

import numpy as np
import pytest
from made_runs import write_run, write_tested_run

from headstart.reports import read_runs
from headstart.reports.analysis import Analysis, Options, analyse
from headstart.reports.findings import findings


def report(root: Path, **options: object) -> Analysis:
    return analyse(read_runs([root]), Options(**options))  # type: ignore[arg-type]


def write(root: Path, shares: dict[str, float], seeds: int = 4) -> None:
    """Write runs that are right on the first images, and on a share of the others that depends on the strategy."""
    for seed in range(seeds):
        easy = np.random.default_rng(seed).random(300)
        for number, (name, share) in enumerate(shares.items()):
            noise = 0.02 * np.random.default_rng((seed, number)).normal(size=300)
            write_tested_run(root, name, seed, easy + noise < share)


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ({"lp_ft": 0.9, "knn": 0.5}, "lp_ft is the best strategy with"),
        ({"lp_ft": 0.9, "knn": 0.6, "scratch": 0.3}, "lp_ft is the best strategy with"),
        ({"lp_ft": 0.9, "knn": 0.899, "scratch": 0.3}, "not distinguishable from knn"),
        (
            dict.fromkeys(("lp_ft", "knn", "ridge", "l2_sp", "scratch", "lora"), 0.9),
            "not distinguishable from",
        ),
    ],
)
def test_the_best_is_better_than_each_other(tmp_path: Path, shares: dict[str, float], said: str) -> None:
    write(tmp_path, shares)
    first = findings(report(tmp_path))[0]
    assert said in first
    assert ("is the best" in first) == ("is the best" in said)
    assert ("has the highest test accuracy" in first) != ("is the best" in first)


def test_many_that_are_alike_are_counted(tmp_path: Path) -> None:
    write(tmp_path, dict.fromkeys(("lp_ft", "knn", "ridge", "l2_sp", "scratch", "lora"), 0.9))
    assert "and 2 more" in findings(report(tmp_path))[0]


def test_one_seed_makes_no_best(tmp_path: Path) -> None:
    write(tmp_path, {"lp_ft": 0.9, "knn": 0.3}, seeds=1)
    first = findings(report(tmp_path))[0]
    assert "lp_ft has the highest test accuracy" in first
    assert "on one seed only" in first


def test_a_row_alone_is_no_best(tmp_path: Path) -> None:
    write_run(tmp_path, "scratch", 0, 0.5, references={"raw_pixels": {"test/accuracy": 0.3}})
    assert findings(report(tmp_path)) == [
        "ants: scratch has a test accuracy of 50.0 %, 20.0 points above raw pixels without any network."
    ]


def test_rows_that_share_no_seed_are_named(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path, "lp_ft", seed, 0.9 + 0.01 * seed)
        write_run(tmp_path, "scratch", 10 + seed, 0.3 + 0.01 * seed)
    assert "not compared with scratch" in findings(report(tmp_path))[0]


def test_a_higher_mean_over_luckier_seeds_is_not_hidden(tmp_path: Path) -> None:
    """knn is better on the shared runs, but lp_ft has three more seeds with high scores."""
    for seed in range(4):
        write_run(tmp_path, "lp_ft", seed, 0.5 + 0.01 * seed)
        write_run(tmp_path, "knn", seed, 0.6 + 0.011 * seed)
    for seed in range(4, 9):
        write_run(tmp_path, "lp_ft", seed, 0.9)
    first = findings(report(tmp_path))[0]
    assert "lp_ft has the highest test accuracy" in first
    assert "worse on the runs that they share than knn" in first


def test_a_sentence_names_the_setting_whose_numbers_it_compares(tmp_path: Path) -> None:
    for seed in range(3):
        for number, lr in enumerate((0.1, 0.2)):
            write_tested_run(
                tmp_path, "scratch", seed, np.random.default_rng(9 * seed + number).random(300) < 0.6, lr=lr
            )
    best, verdict = findings(report(tmp_path))
    assert best.startswith("ants: lr 0.")
    assert "not distinguishable from lr 0." in best
    assert "cannot separate lr 0." in verdict
    assert "from lr 0." in verdict
    assert report(tmp_path, baseline="0.1").comparisons["ants"]  # the row itself has the plain value


def test_tuning_without_different_values_is_said(tmp_path: Path) -> None:
    write(tmp_path, {"lp_ft": 0.9, "knn": 0.5}, seeds=2)
    last = findings(report(tmp_path, tune=["optimizer.lr"]))[-1]
    assert last == "--tune optimizer.lr: no row has runs with different values, so nothing was chosen."
    for seed in range(2):
        write_tested_run(tmp_path, "knn", seed, np.random.default_rng(seed).random(300) < 0.4, lr=0.3)
    assert not [line for line in findings(report(tmp_path, tune=["optimizer.lr"])) if "nothing was chosen" in line]
