"""Test which settings make rows and panels, and which value tuning chooses."""

from pathlib import Path

import pytest
from made_runs import write_run

from headstart.comparison.panels import make_panels
from headstart.comparison.table import group_runs, layout_of
from headstart.errors import ConfigError
from headstart.reports import read_runs


def sweep(root: Path) -> tuple:
    """Write runs of two strategies, data sets and learning rates; validation prefers 0.2 for one strategy."""
    for dataset, gain in (("ants", 0.0), ("birds", 0.05)):
        for seed in (0, 1):
            for strategy, lr, accuracy in (
                ("head_only", 0.1, 0.7),
                ("head_only", 0.2, 0.8),
                ("scratch", 0.1, 0.5),
                ("scratch", 0.2, 0.4),
            ):
                folder = root / dataset
                write_run(
                    folder, strategy, seed, accuracy + gain, lr=lr, dataset=dataset, id=f"{dataset}{strategy}{lr}{seed}"
                )
    return read_runs([root]).runs


def test_by_default_strategies_are_compared_where_all_else_is_equal(tmp_path: Path) -> None:
    panels = make_panels(group_runs(sweep(tmp_path)))
    assert len(panels) == 4
    assert {panel.title for panel in panels} == {f"{name}, lr {lr}" for name in ("ants", "birds") for lr in (0.1, 0.2)}
    assert all([group.label for group in panel.groups] == ["head_only", "scratch"] for panel in panels)


def test_one_strategy_is_split_by_what_varies(tmp_path: Path) -> None:
    runs = [run for run in sweep(tmp_path) if run.strategy == "scratch"]
    assert layout_of(runs).by == ("optimizer.lr",)
    panels = make_panels(group_runs(runs))
    assert [group.label for group in panels[0].groups] == ["0.1", "0.2"]


def test_rows_and_panels_as_asked(tmp_path: Path) -> None:
    runs = sweep(tmp_path)
    panels = make_panels(group_runs(runs, by=["strategy", "lr"], compare=["dataset"]))
    assert [panel.title for panel in panels] == ["ants", "birds"]
    assert [group.label for group in panels[0].groups][:2] == ["head_only, lr 0.2", "head_only, lr 0.1"]
    only = make_panels(group_runs(runs, compare=["dataset", "lr"]))
    assert len(only) == 4
    with pytest.raises(ConfigError, match="'strategy' is given twice"):
        layout_of(runs, by=["strategy"], compare=["strategy"])


def test_tuning_chooses_on_validation_and_counts_all(tmp_path: Path) -> None:
    runs = sweep(tmp_path)
    # Validation prefers 0.1 for scratch on birds, though test would not.
    for run in runs:
        if run.strategy == "scratch" and run.config["optimizer.lr"] == 0.2:
            run.metrics["test/accuracy"] = 0.99
    groups = {(group.key["dataset"], group.label): group for group in group_runs(runs, by=["strategy"], tune=["lr"])}
    chosen = groups["birds", "scratch"]
    assert chosen.tuned == {"optimizer.lr": 0.1}
    assert chosen.test.mean == pytest.approx(0.55)
    assert len(chosen.runs) == 2
    assert len(chosen.tried) == 4
    assert groups["ants", "head_only"].tuned == {"optimizer.lr": 0.2}


def test_settings_are_compared_on_the_seeds_that_they_share(tmp_path: Path) -> None:
    """0.1 is better on seeds 0 and 1; 0.2 has three more seeds with high scores."""
    for lr, scores in ((0.1, [0.70, 0.60]), (0.2, [0.68, 0.58, 0.95, 0.96, 0.97])):
        for seed, score in enumerate(scores):
            write_run(tmp_path, "scratch", seed, score, lr=lr)
    (group,) = group_runs(read_runs([tmp_path]).runs, by=["strategy"], tune=["lr"])
    assert group.tuned == {"optimizer.lr": 0.1}
    assert group.tuned_on == 2
    assert len(group.tried) == 7


def test_settings_that_share_no_seed_are_not_compared(tmp_path: Path) -> None:
    for lr, seeds in ((0.1, (0, 1)), (0.2, (0, 1)), (0.4, (7,))):
        for seed in seeds:
            write_run(tmp_path, "scratch", seed, 0.5, lr=lr)
    runs = read_runs([tmp_path]).runs
    with pytest.raises(ConfigError, match=r"these 3 share none: lr 0.4 has seed 7; run all with the same seeds"):
        group_runs(runs, by=["strategy"], tune=["lr"])
    for run in runs:
        if run.config["optimizer.lr"] == 0.4:
            del run.metrics["validation/accuracy"]  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"runs with lr 0.4 have no validation accuracy"):
        group_runs(runs, by=["strategy"], tune=["lr"])


def test_a_short_name_means_the_setting_that_varies(tmp_path: Path) -> None:
    for seed in (0, 1):
        config = {"dataset": {"image_size": 64 + seed, "k": 1}, "backbone": {"image_size": 64 + seed, "k": 2}}
        write_run(tmp_path, "scratch", seed, 0.5, config=config)
    runs = read_runs([tmp_path]).runs
    assert layout_of(runs, by=["image_size"]).by == ("dataset.image_size",)
    with pytest.raises(ConfigError, match="'k' is not one setting but 2"):
        layout_of(runs, by=["k"])


def test_long_values_are_shortened_in_labels_and_stay_distinct(tmp_path: Path) -> None:
    for name in ("one", "two"):
        weights = f"/some/where/{name}/a-long-name-of-a-run/checkpoints/best.ckpt"
        write_run(tmp_path / name, "scratch", 0, 0.5, id=name, config={"backbone": {"weights": weights}})
    groups = group_runs(read_runs([tmp_path]).runs, by=["strategy", "weights"])
    assert len({group.label for group in groups}) == 2
    assert all(len(group.label) < 50 and "best.ckpt" in group.label for group in groups)


@pytest.mark.parametrize(
    ("second", "groups"),
    [
        (("here", "hash one"), [2]),  # the same data at the same place: seeds of one group
        (("elsewhere", "hash one"), [2]),  # at two places
        (("here", "hash two"), [1, 1]),  # changed in between
        (("elsewhere", "hash two"), [1, 1]),
        (("elsewhere", None), [1, 1]),  # of an early run, which does not say: places tell
    ],
)
def test_runs_are_grouped_by_the_content_of_their_data(
    tmp_path: Path, second: tuple[str, str | None], groups: list[int]
) -> None:
    for seed, (root, held) in enumerate([("here", "hash one"), second]):
        config = {"dataset": {"root": root}}
        write_run(tmp_path, "head_only", seed, 0.7, config=config, source={"root": root, "hash": held})
    found = group_runs(read_runs([tmp_path]).runs)
    assert [len(group.runs) for group in found] == groups
