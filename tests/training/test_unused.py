"""Test that settings that were typed and are not used are named, with the reason."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, make_strategy, runs_below
from omegaconf import OmegaConf

from headstart.cli import main
from headstart.strategies import FinetuneAll, HeadOnly, LinearProbe, Scratch, Strategy
from headstart.training.unused import unused_settings

PLAIN: dict[str, Any] = {
    "strategy": {"lr": None},
    "trainer": {"gradient_clip_val": None},
    "features": {"enabled": True},
    "head": {"pooling": None},
    "task": {"_target_": "headstart.tasks.Classification"},
}


@pytest.mark.parametrize(
    ("cls", "changes", "typed", "phrases"),
    [
        (HeadOnly, {}, ["optimizer.lr=1", "trainer.max_epochs=5", "scheduler=constant", "features.engine=torch"], []),
        (
            LinearProbe,
            {},
            ["trainer.max_epochs=5", "+optimizer.betas=[0.9,0.9]", "scheduler=constant", "strategy.l2=1", "seed=1"],
            ["trainer.max_epochs, optimizer.betas, scheduler (linear_probe takes no gradient steps)"],
        ),
        (Scratch, {}, ["backbone.weights=imagenet"], ["backbone.weights (the strategy starts from random weights)"]),
        (Scratch, {}, ["backbone.weights=null", "~callbacks.progress"], []),
        (HeadOnly, {"strategy": {"lr": 0.1}}, ["optimizer.lr=1"], ["optimizer.lr (strategy.lr is given)"]),
        (HeadOnly, {"features": {"enabled": False}}, ["features.engine=torch", "features.enabled=false"],
         ["features.engine (features.enabled is false)"]),
        (FinetuneAll, {}, ["features.engine=torch"], ["features.engine (no lower stage is frozen)"]),
        (HeadOnly, {}, ["features.views=4", "augmentation.where=device"],
         ["features.views (nothing is augmented)", "augmentation.where (nothing is augmented)"]),
        (HeadOnly, {}, ["trainer.gradient_clip_algorithm=value"],
         ["trainer.gradient_clip_algorithm (trainer.gradient_clip_val is null)"]),
        (HeadOnly, {"trainer": {"gradient_clip_val": 1.0}}, ["trainer.gradient_clip_algorithm=value"], []),
        (HeadOnly, {}, ["head.gem_p=4"], ["head.gem_p (head.pooling is not gem)"]),
        (HeadOnly, {"head": {"pooling": "gem"}}, ["head.gem_p=4"], []),
        (HeadOnly, {"task": {"masked": 0.0}}, ["task.cell=4", "task.masked=0"], ["task.cell (task.masked is 0)"]),
        (HeadOnly, {"task": {"masked": 0.5}}, ["task.cell=4"], []),
        (HeadOnly, {"task": {"method": "vicreg"}}, ["task.temperature=1"],
         ["task.temperature (task.method is vicreg)"]),
        (HeadOnly, {"task": {"method": "simclr"}}, ["task.temperature=1"], []),
        (HeadOnly, {"task": {"loss": "mae"}}, ["task.bins=9"], ["task.bins (task.loss is mae)"]),
        (HeadOnly, {"task": {"loss": "bins"}}, ["task.bins=9"], []),
        (HeadOnly, {"task": {"colour": "drop"}}, ["task.colour=drop"], []),
    ],
)  # fmt: skip
def test_unused_settings(cls: type[Strategy], changes: dict[str, Any], typed: list[str], phrases: list[str]) -> None:
    strategy = make_strategy(cls)
    assert unused_settings(OmegaConf.create(PLAIN | changes), typed, strategy) == phrases


def test_colours_of_images_without_colour_are_not_used() -> None:
    strategy = make_strategy(HeadOnly)
    strategy.backbone.signature = replace(strategy.backbone.signature, channels=1)
    phrases = unused_settings(OmegaConf.create(PLAIN), ["task.colour=drop"], strategy)
    assert phrases == ["task.colour (images do not have three channels)"]


def test_a_run_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *TINY, "strategy=nearest_centroid", "optimizer.lr=0.1", "output_dir=o"]) == 0
    phrase = "trainer.max_epochs, optimizer.lr (nearest_centroid takes no gradient steps)"
    assert f"not used: {phrase}" in capsys.readouterr().out
    assert runs_below(Path("o"))[0]["not_used"] == [phrase]
