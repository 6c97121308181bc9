"""Test balance and refit in runs on a long-tailed folder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SMALLEST, TINY

from headstart.analysis.explain.network import rebuild
from headstart.cli import main
from headstart.records.predictions import read_class_predictions
from headstart.records.runs import Run, read_run

FOLDERS = {"train/a": 24, "train/b": 10, "train/c": 4, "test/a": 4, "test/b": 4, "test/c": 4}


@pytest.fixture
def train(make_folder: Callable[..., Path]) -> Callable[..., tuple[Path, dict[str, Any]]]:
    """Train on a long-tailed folder: train(setting, ...) -> run directory and run.json."""
    root = make_folder(FOLDERS)

    def run(*settings: str) -> tuple[Path, dict[str, Any]]:
        into = Path(f"runs{len(list(Path().glob('runs*')))}")
        data = ["dataset=image_folder", f"dataset.root={root}", "dataset.batch_size=8", *TINY[1:], *SMALLEST]
        assert main(["train", *data, *settings, f"output_dir={into}"]) == 0
        (path,) = into.rglob("run.json")
        return path.parent, json.loads(path.read_text())

    return run


Train = Callable[..., tuple[Path, dict[str, Any]]]


def test_each_balance_trains_another_network_on_the_same_images(
    train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = {name: train("strategy=head_only", f"dataset.balance={name}") for name in ("none", "loss", "sampler")}
    said = capsys.readouterr().out
    assert "balance: loss, weights 0.53 (a) to 3.3 (c)" in said
    assert "balance: sampler, 10 images per class and epoch" in said
    assert len({run["metrics"]["test/loss"] for _, run in runs.values()}) == 3
    assert len({run["config_hash"] for _, run in runs.values()}) == 3
    assert len({run["provenance"]["dataset_fingerprint"] for _, run in runs.values()}) == 1
    for directory, run in runs.values():  # what is reported counts images alike
        for file, split in (("predictions.csv", "test"), ("validation_predictions.csv", "validation")):
            found = read_class_predictions(directory / file)
            assert found.correct.mean() == pytest.approx(run["metrics"][f"{split}/accuracy"])
            loss = -np.log(found.probabilities[np.arange(len(found.targets)), found.targets]).mean()
            assert loss == pytest.approx(run["metrics"][f"{split}/loss"], rel=1e-4)


@pytest.mark.parametrize("balance", ["loss", "sampler"])
def test_stored_features_change_nothing_for_balanced_batches(balance: str, train: Train) -> None:
    settings = ["strategy=head_only", f"dataset.balance={balance}", "features.engine=torch"]
    (_, kept), (_, plain) = (train(*settings, f"features.enabled={on}") for on in ("true", "false"))
    assert kept["features"] is not None
    assert plain["features"] is None
    for name, value in plain["metrics"].items():
        assert kept["metrics"][name] == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("strategy", [["linear_probe"], ["knn", "strategy.neighbours=[5]"]])
def test_a_refit_is_tested_and_saved_but_not_validated(strategy: list[str], train: Train) -> None:
    settings = [f"strategy={strategy[0]}", *strategy[1:], "dataset.balance=loss"]
    (once, plain), (twice, refitted) = train(*settings), train(*settings, "strategy.refit=true")
    assert refitted["selected"] == {**plain["selected"], "refit": True, "refit_images": 38}
    assert "then refitted on training and validation images, 38 in all" in refitted["selection"]["rule"]
    same, other = "validation_predictions.csv", "predictions.csv"
    assert (once / same).read_bytes() == (twice / same).read_bytes()  # nothing of the refit is validated in-sample
    assert (once / other).read_bytes() != (twice / other).read_bytes()
    for name in ("train/loss", "validation/loss", "validation/accuracy"):
        assert refitted["metrics"][name] == plain["metrics"][name]
    assert refitted["metrics"]["test/loss"] != plain["metrics"]["test/loss"]
    found = read_run(twice)
    assert isinstance(found, Run)
    rebuild(found).verified_probabilities()  # raises unless best.ckpt says what predictions.csv holds
    assert main(["evaluate", str(twice)]) == 0


@pytest.mark.slow
def test_a_refit_is_reproduced(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    directory, _ = train("strategy=ridge", "strategy.refit=true", "dataset.balance=loss")
    assert main(["reproduce", str(directory)]) == 0
    assert "verdict: bit-equal" in capsys.readouterr().out


@pytest.mark.parametrize("strategy", ["ridge", "nearest_centroid"])
def test_a_refit_averages_views_too(strategy: str, train: Train) -> None:
    settings = [f"strategy={strategy}", "strategy.views=2", "augmentation=crop_resize", "strategy.refit=true"]
    directory, run = train(*settings)
    assert run["selected"]["refit_images"] == 38
    found = read_run(directory)
    assert isinstance(found, Run)
    rebuild(found).verified_probabilities()


def test_the_probe_of_lp_ft_is_weighed(train: Train) -> None:
    settings = ["strategy=lp_ft", "strategy.l2=[0.001]", "trainer.max_epochs=1"]
    accuracies = [train(*settings, f"dataset.balance={name}")[1]["metrics"]["test/loss"] for name in ("none", "loss")]
    assert accuracies[0] != accuracies[1]
