"""Every task with every strategy: what is trained moves, what is frozen stays, runs resume, and reports show them.

A new kind of target joins with a row in ``TASKS``.
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SMALLEST, runs_below
from made_lists import list_of_classes, list_of_labels, list_of_numbers, list_of_several
from made_masks import write_masks, write_numbers
from resuming import check_equal, only_run, stop_at

from headstart.cli import main
from headstart.kinds import kind_of
from headstart.records.predictions import read_predictions
from headstart.settings.configs import choices
from headstart.strategies.solved import SolvedStrategy
from headstart.strategies.steps import GradientStrategy


@dataclass(frozen=True)
class TaskRow:
    """A task on a tiny list of images."""

    write: Callable[[int], object]
    settings: tuple[str, ...]
    solved: tuple[str, ...]
    """Strategies that compute its head."""
    refused: tuple[str, ...] = ()
    """Strategies that refuse it in one sentence."""
    variant: bool = False
    """Whether another row has the same task, so that a few strategies suffice."""
    augmentations: tuple[str, ...] = ("[crop_resize,cutmix]", "augmix_jsd", "manifold_mixup")


GRADIENT = (
    "scratch", "finetune_all", "finetune_lower", "finetune_upper", "surgical", "gradual_unfreeze", "head_only",
    "bias_only", "norm_only", "lora", "adapters", "truncate", "l2_sp", "lp_ft", "wise_ft", "layer_transfer",
)  # fmt: skip
SOLVED = ("linear_probe", "ridge", "knn", "nearest_centroid")
TASKS = {
    "classification": TaskRow(list_of_classes, ("task=classification",), SOLVED),
    "multilabel": TaskRow(list_of_labels, ("task=multilabel",), SOLVED[:3], SOLVED[3:]),
    "columns": TaskRow(
        list_of_labels,
        ("task=multilabel", "dataset.targets=[red,blue]", "dataset.balance=loss"),
        ("linear_probe",),
        ("ridge", "knn", "nearest_centroid"),
        variant=True,
    ),
    "regression": TaskRow(
        list_of_numbers, ("task=regression",), ("ridge", "knn"), ("linear_probe", "nearest_centroid")
    ),
    "numbers": TaskRow(
        list_of_numbers,
        ("task=regression", "dataset.targets=[label,dark]", "task.loss=huber"),
        ("ridge", "knn"),
        ("linear_probe", "nearest_centroid"),
        variant=True,
    ),
    "bins": TaskRow(
        list_of_numbers,
        ("task=regression", "task.loss=bins"),
        (),
        ("ridge", "knn", "linear_probe", "nearest_centroid", "lp_ft", "wise_ft"),
        variant=True,
    ),
}
CLASS_AND_NUMBERS = (
    "task=several",
    "task.parts={colour: {kind: classification, column: label}, light: {kind: regression, columns: [light, dark]}}",
)
TASKS |= {
    "several": TaskRow(list_of_several, CLASS_AND_NUMBERS, ("ridge", "knn"), ("linear_probe", "nearest_centroid")),
    "uncertainty": TaskRow(
        list_of_several,
        ("task=several", "task.weights=uncertainty", "task.primary=tags",
         "task.parts={colour: {kind: classification, column: label}, tags: {kind: multilabel, column: labels}}"),
        ("linear_probe", "ridge", "knn"),
        ("nearest_centroid",),
        variant=True,
    ),
    "segmentation": TaskRow(
        lambda count: write_masks(Path("set")),
        ("task=segmentation", "dataset=image_mask", "dataset.root=set", "dataset.ignore_index=3"),
        ("linear_probe", "ridge"),
        ("knn", "nearest_centroid"),
        augmentations=("[crop_resize,cutmix]", "mixup"),
    ),
    "dense_regression": TaskRow(
        lambda count: write_numbers(Path("set")),
        ("task=dense_regression", "dataset=image_mask", "dataset.root=set"),
        ("ridge",),
        ("linear_probe", "knn", "nearest_centroid"),
        variant=True,
        augmentations=("[crop_resize,cutmix]", "mixup"),
    ),
}  # fmt: skip
LISTED = ("dataset=csv", "dataset.root=images/list.csv")
STRENGTHS = ("strategy.l2=[10,0.1]",)
OWN = {
    "surgical": ("strategy.train_stages=[stage2]",),
    "layer_transfer": ("strategy.stages=2",),
    **dict.fromkeys(("linear_probe", "lp_ft", "wise_ft"), STRENGTHS),
}
# The first row of each task.
DIFFERENT = list({row.settings[0]: name for name, row in reversed(TASKS.items())}.values())
COMMON = (
    "dataset.image_size=32", "dataset.num_workers=0",
    "dataset.batch_size=16", "backbone.weights=null", "trainer.accelerator=cpu", "trainer.max_epochs=2", *SMALLEST,
)  # fmt: skip
QUICK = ("head_only", "finetune_upper")  # the others are slow, as they are many


def train(task: str, strategy: str, *settings: str, folder: str = "runs") -> int:
    """Train a tiny run; return the exit code."""
    row = TASKS[task]
    listed = () if "dataset=image_mask" in row.settings else LISTED
    return main(
        ["train", *COMMON, *listed, *row.settings, f"strategy={strategy}", *OWN.get(strategy, ()), *settings,
         f"output_dir={folder}"]
    )  # fmt: skip


def pairs(strategies: Callable[[TaskRow], tuple[str, ...]]) -> list[Any]:
    return [
        pytest.param(task, one, marks=[] if one in (*QUICK, *SOLVED) else pytest.mark.slow, id=f"{task}-{one}")
        for task, row in TASKS.items()
        for one in strategies(row)
    ]


def tried(row: TaskRow) -> tuple[str, ...]:
    """Return the strategies that fit a row: all, or few of those with gradient steps for a variant."""
    gradient = (*QUICK, "finetune_all", "lp_ft") if row.variant else GRADIENT
    return tuple(one for one in gradient if one not in row.refused) + row.solved


def watch_weights(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Keep the network and a copy of its weights from the moment before it is fitted."""
    seen: dict[str, Any] = {}
    for kind in (GradientStrategy, SolvedStrategy):
        plain = kind.fit

        def fit(self: Any, *args: Any, plain: Any = plain, **kwargs: Any) -> int:
            seen["strategy"] = self
            seen["before"] = {name: tensor.detach().clone() for name, tensor in self.named_parameters()}
            return int(plain(self, *args, **kwargs))

        monkeypatch.setattr(kind, "fit", fit)
    return seen


def test_every_strategy_that_ships_is_among_these() -> None:
    assert set(choices("strategy")) == {*GRADIENT, *SOLVED}


@pytest.mark.parametrize(("task", "strategy"), pairs(tried))
def test_what_is_trained_moves_and_what_is_frozen_stays(
    task: str, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    TASKS[task].write(48)
    seen = watch_weights(monkeypatch)
    epochs = 2 if strategy == "gradual_unfreeze" else 1
    assert train(task, strategy, f"trainer.max_epochs={epochs}") == 0
    (run,) = runs_below(Path("runs"))
    metric = run["primary"]["name"]
    assert run["task"] == kind_of(run).name
    assert run["selection"]["on"] == f"validation/{metric}"
    assert all(np.isfinite(run["metrics"][f"{split}/{metric}"]) for split in ("validation", "test"))
    network, before = seen["strategy"], seen["before"]
    if strategy in GRADIENT:
        groups = [group["params"] for group in network.plan.optimizer_groups()]
        trained = {id(parameter) for group in groups for parameter in group}
        names = {name: parameter for name, parameter in network.named_parameters() if name in before}
        moved = {name for name, parameter in names.items() if not torch.equal(parameter.detach(), before[name])}
        assert {name for name, parameter in names.items() if id(parameter) in trained} & moved
        head = {name for name, parameter in names.items() if name.startswith("head.") and id(parameter) in trained}
        assert not head or head & moved
        assert {name for name in moved if name.startswith("backbone.")} <= {
            name for name, parameter in names.items() if id(parameter) in trained
        }
    predictions = [read_predictions(file, kind_of(run)) for file in Path("runs").rglob("predictions.csv")]
    scores = kind_of(run).per_image(predictions[0], metric)
    assert scores is not None
    assert scores.mean() == pytest.approx(run["metrics"][f"test/{metric}"], abs=1e-4)


@pytest.mark.parametrize(("task", "strategy"), pairs(lambda row: row.refused))
def test_what_does_not_fit_is_refused_in_one_sentence(
    task: str, strategy: str, capfd: pytest.CaptureFixture[str]
) -> None:
    TASKS[task].write(48)
    assert train(task, strategy) == 2
    said = capfd.readouterr().err
    assert f"strategy={strategy}" in said
    assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.parametrize("task", DIFFERENT)
def test_a_run_that_was_stopped_ends_as_if_it_never_had(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    TASKS[task].write(48)
    settings = ("augmentation=[crop_resize,mixup]", "sweep.checkpoint_share=1")
    assert train(task, "finetune_all", *settings, folder="a") == 0
    with monkeypatch.context() as patch:
        stop_at(patch, 1, "SIGTERM")
        assert train(task, "finetune_all", *settings, folder="b") == 143
    assert train(task, "finetune_all", *settings, folder="b") == 0
    check_equal(only_run("a"), only_run("b"))


@pytest.mark.parametrize("task", TASKS)
def test_cached_features_change_nothing(task: str) -> None:
    TASKS[task].write(48)
    for number, on in enumerate(("true", "false")):
        settings = (f"features.enabled={on}", *(["features.engine=torch"] if on == "true" else []))
        assert train(task, "head_only", *settings, folder=f"runs{number}") == 0
    first, second = (runs_below(Path(f"runs{number}"))[0] for number in range(2))
    assert first["metrics"] == pytest.approx(second["metrics"], rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(
    ("task", "augmentation"), [(task, one) for task in DIFFERENT for one in TASKS[task].augmentations]
)
def test_augmentations_mix_targets_and_compare_views(task: str, augmentation: str) -> None:
    TASKS[task].write(48)
    assert train(task, "finetune_upper", f"augmentation={augmentation}", "trainer.max_epochs=1") == 0
    (run,) = runs_below(Path("runs"))
    assert all(np.isfinite(value) for name, value in run["metrics"].items() if name.endswith("/loss"))


@pytest.mark.slow
@pytest.mark.parametrize("task", DIFFERENT)
def test_a_report_has_a_row_for_each_strategy(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    row = TASKS[task]
    row.write(48)
    compared = ("head_only", *(row.solved or ("finetune_upper",))[:1])
    for strategy in compared:
        assert train(task, strategy) == 0
    metric = runs_below(Path("runs"))[0]["primary"]["name"]
    capsys.readouterr()
    assert main(["report", "runs", "--out", "out", "--no-figures"]) == 0
    said = capsys.readouterr().out
    rows = list(csv.DictReader(Path("out/report.csv").read_text().splitlines()))
    assert {row["strategy"] for row in rows} == set(compared)
    assert all(np.isfinite(float(row[f"test_{metric}_{what}"])) for row in rows for what in ("mean", "low", "high"))
    assert all(strategy in said for strategy in compared)
    (verdict,) = csv.DictReader(Path("out/comparisons.csv").read_text().splitlines())
    assert np.isfinite(float(verdict["difference"]))
