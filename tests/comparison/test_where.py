"""Test conditions, which choose runs by any setting."""

from pathlib import Path

import pytest
from made_runs import write_run

from headstart.comparison.where import choose
from headstart.errors import ConfigError
from headstart.reports import read_runs


@pytest.fixture
def runs(tmp_path: Path) -> list:
    for seed in range(3):
        write_run(tmp_path, "scratch", seed, 0.5, config={"backbone": {"weights": "imagenet"}})
        write_run(tmp_path, "head_only", seed, 0.8, lr=0.2, augmentation=["crop_resize", "mixup"])
    write_run(
        tmp_path,
        "ridge",
        0,
        0.8,
        lr=0.3,
        config={"optimizer": {"lr": None}, "strategy": {"views": None}, "backbone": {"weights": None}},
    )
    return list(read_runs([tmp_path]).runs)


@pytest.mark.parametrize(
    ("conditions", "count"),
    [
        (["strategy=scratch"], 3),
        (["strategy!=scratch"], 4),
        (["seed=0,1"], 5),
        (["seed = 0"], 3),
        (["augmentation=none"], 4),
        (["augmentation=crop_resize+mixup"], 3),
        (["optimizer.lr<0.15"], 3),
        (["lr>=0.1", "lr<=0.2"], 6),
        (["optimizer.lr=0.20"], 3),
        (["optimizer.lr=null"], 1),
        (["strategy=scratch,ridge", "seed=0"], 2),
        (["weights=null"], 1),
        (["weights=imagenet,random"], 4),
    ],
)
def test_conditions(runs: list, conditions: list[str], count: int) -> None:
    assert len(choose(runs, conditions)) == count


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("strategy", "is not a condition"),
        ("strateg=scratch", "No run has a setting 'strateg'. Did you mean 'strategy'"),
        ("strategy=scrach", "leaves no run; values of strategy: head_only, ridge, scratch"),
        ("seed<many", "'many' is not a number"),
    ],
)
def test_wrong_conditions_are_refused(runs: list, condition: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        choose(runs, [condition])
