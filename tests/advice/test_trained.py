"""Test that trained candidates are trained as in a run, and scored on images that did not train or choose them."""

import csv
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SMALLEST, TINY
from omegaconf import DictConfig

from headstart.advice import trained
from headstart.advice.candidates import fold_positions, scored_by_halves
from headstart.cli import main
from headstart.errors import HeadstartError
from headstart.interrupt import Interrupted
from headstart.settings.configs import composed
from headstart.training import compose

SETTINGS = [*TINY, *SMALLEST, "output_dir=out", "logger=csv"]


def settings_of(*own: str) -> DictConfig:
    """Return the settings of a run."""
    config, _ = composed([*SETTINGS, *own])
    return config


@pytest.mark.parametrize("own", [["strategy=finetune_all"], ["strategy=lp_ft", "augmentation=flip_crop"]])
def test_each_epoch_is_that_of_a_run(own: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []
    monkeypatch.setattr(trained, "scored_by_halves", lambda one: found.append(one) or scored_by_halves(one))
    candidate = trained.try_trained("smallest", "stage4", own[0].partition("=")[2], settings_of(*own), 1)
    ((right, loss),) = found
    assert main(["train", *SETTINGS, *own, "output_dir=run"]) == 0
    with next(Path("run").rglob("metrics.csv")).open(newline="") as file:
        epochs = list(csv.DictReader(file))
    assert right.mean(axis=1) == pytest.approx([float(epoch["validation/accuracy"]) for epoch in epochs])
    assert loss.mean(axis=1) == pytest.approx([float(epoch["validation/loss"]) for epoch in epochs], rel=1e-4)
    assert candidate.correct.tolist() == scored_by_halves(found[0])[0].tolist()
    assert candidate.seconds > 0
    assert candidate.settings == ["backbone=smallest", own[0]]
    assert not list(Path("out").glob("[!.]*"))  # only cached features


def test_each_image_is_held_out_once_and_then_not_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings_of("strategy=finetune_all", "augmentation=flip_crop")
    seen: list[Any] = []

    def look(parts: Any) -> tuple[Any, float]:
        seen.append(parts.data)
        count = len(parts.data.validation)
        return (np.full((2, count), len(seen) == 1), np.zeros((2, count))), float(len(seen))

    monkeypatch.setattr(trained, "_trained", look)
    candidate = trained.try_trained("smallest", "stage4", "finetune_all", config, 3)
    whole = compose.make_data(config)
    whole.prepare(compose.make_backbone(config).preprocessing)
    both = [*whole.train.ids, *whole.validation.ids]
    targets = np.concatenate([whole.train.targets, whole.validation.targets])
    pixels = {split.ids[place]: split.image(place) for split in (whole.train, whole.validation) for place in range(5)}
    for fold, data in enumerate(seen):
        stay, off = fold_positions(targets, 3, fold)
        assert list(data.train.ids) == [both[place] for place in stay]
        assert list(data.validation.ids) == [both[place] for place in off]
        assert data.train.targets.tolist() == targets[stay].tolist()
        assert data.train.views
        assert not data.validation.views
        for split in (data.train.without_views(), data.validation):
            for place, name in enumerate(split.ids):
                assert name not in pixels or (split.image(place) == pixels[name]).all()
    assert sorted(name for data in seen for name in data.validation.ids) == sorted(both)
    assert candidate.correct.sum() == len(seen[0].validation)  # the first fold comes first
    assert candidate.correct[: len(seen[0].validation)].all()
    assert candidate.seconds == 2.0


def test_outputs_are_in_the_order_of_the_images() -> None:
    """With statistics of the batch, held-out images are mixed."""
    outputs = trained.EpochOutputs()
    for epoch in range(-1, 2):
        for positions in ([2, 0], [1]):
            batch = SimpleNamespace(positions=torch.tensor(positions))
            values = torch.tensor([[10.0 * epoch + place] for place in positions])
            outputs.on_validation_batch_end(None, None, values, batch, 0)  # type: ignore[arg-type]
        outputs.on_validation_end(SimpleNamespace(sanity_checking=epoch < 0), None)  # type: ignore[arg-type]
    assert [epoch.flatten().tolist() for epoch in outputs.epochs] == [[0, 1, 2], [10, 11, 12]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_leaves_nothing(number: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(trained.EpochOutputs, "on_validation_end", lambda *_: os.kill(os.getpid(), number))
    before = signal.getsignal(number)
    with pytest.raises(Interrupted):
        trained.try_trained("smallest", "stage4", "finetune_all", settings_of("strategy=finetune_all"), 1)
    assert signal.getsignal(number) == before
    assert not list(tmp_path.glob("headstart-*"))
    assert not list(Path("out").glob("[!.]*"))


def test_training_that_fails_is_one_sentence() -> None:
    config = settings_of("strategy=finetune_all", "optimizer.lr=1e30")
    with pytest.raises(HeadstartError, match=r"^[^\n]*loss[^\n]*$"):
        trained.try_trained("smallest", "stage4", "finetune_all", config, 1)
