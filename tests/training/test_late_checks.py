"""Test that too small batches for batch norm, and callbacks on numbers that are not logged, are refused."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import make_strategy, toy_backbone
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from torch import nn

from headstart.backbones import Backbone, Preprocessing, WeightsInfo
from headstart.cli import main
from headstart.errors import ConfigError
from headstart.strategies import FinetuneAll, HeadOnly, NearestCentroid, Scratch, Strategy
from headstart.training.late_checks import check_limits, check_monitors, check_statistics


def backbone(size: int) -> Backbone:
    """Return the toy network for images of this size; its maps are a quarter as wide."""
    toy = toy_backbone()
    small = Preprocessing(size, (0.5,) * 3, (0.25,) * 3, "bilinear", 1.0)
    return Backbone("toy", list(toy.stages.items()), toy.pool, small, WeightsInfo(name="toy"))


class Images(list[int]):
    branches = 1


def data(train: int, batch_size: int, held_out: int = 8) -> Any:
    return SimpleNamespace(
        train=Images(range(train)), validation=range(held_out), test=range(held_out), batch_size=batch_size
    )


@pytest.mark.parametrize(
    ("cls", "mode", "size", "split", "world", "parts", "fine"),
    [
        (Scratch, "auto", 4, (8, 1), 1, 1, False),
        (Scratch, "auto", 16, (8, 1), 1, 1, True),  # maps of 4 x 4 pixels have 16 values a channel
        (Scratch, "auto", 4, (8, 2), 1, 1, True),
        (Scratch, "auto", 4, (9, 2), 1, 1, False),  # the last of the even batches has one image
        (Scratch, "auto", 4, (8, 4), 4, 1, False),
        (Scratch, "auto", 4, (8, 4), 2, 1, True),
        (Scratch, "auto", 4, (8, 4), 1, 4, False),
        (Scratch, "auto", 4, (8, 4), 2, 2, False),
        (Scratch, "frozen", 4, (8, 1), 1, 1, True),
        (FinetuneAll, "auto", 4, (8, 1), 1, 1, True),  # pretrained: stored statistics
        (FinetuneAll, "update", 4, (8, 1), 1, 1, False),
        (FinetuneAll, "batch", 4, (8, 4), 1, 1, True),
        (FinetuneAll, "adapt", 4, (8, 1), 4, 4, True),  # one process estimates, in passes of many images
        (HeadOnly, "auto", 4, (8, 1), 1, 1, True),
        (HeadOnly, "batch", 4, (8, 1), 1, 1, False),
    ],
)
def test_a_pass_of_one_image(
    cls: type[Strategy], mode: str, size: int, split: tuple[int, int], world: int, parts: int, fine: bool
) -> None:
    strategy = make_strategy(cls, backbone=backbone(size), batch_norm=mode)
    before = {name: tensor.clone() for name, tensor in strategy.state_dict().items()}
    if fine:
        check_statistics(strategy, data(*split), world, parts)
    else:
        with pytest.raises(
            ConfigError, match=r"dataset.batch_size=\d leads to a pass of one image.*strategy.batch_norm"
        ):
            check_statistics(strategy, data(*split), world, parts)
    assert all(torch.equal(tensor, before[name]) for name, tensor in strategy.state_dict().items())
    # What is refused is what torch itself would refuse in training, and nothing else.
    if (world, parts, split) == (1, 1, (8, 1)) and mode != "adapt":
        strategy.train()
        broken = False
        try:
            strategy(torch.zeros(1, 3, size, size, dtype=torch.uint8))
        except ValueError as error:
            broken = "more than 1 value per channel" in str(error)
        assert broken != fine


def test_batch_statistics_are_needed_in_evaluation_too() -> None:
    strategy = make_strategy(FinetuneAll, backbone=backbone(4), batch_norm="batch")
    with pytest.raises(ConfigError, match="one value per channel"):
        check_statistics(strategy, data(8, 4, held_out=1), 1)


def test_several_views_of_an_image_are_several_values() -> None:
    strategy, images = make_strategy(Scratch, backbone=backbone(4)), data(8, 1)
    images.train.branches = 2
    check_statistics(strategy, images, 1)


def test_a_network_without_batch_norm_takes_single_images() -> None:
    stages = [("stage0", nn.Sequential(nn.Conv2d(3, 4, 4), nn.ReLU()))]
    small = Preprocessing(4, (0.5,) * 3, (0.25,) * 3, "bilinear", 1.0)
    plain = Backbone("plain", stages, nn.Flatten(), small, WeightsInfo())
    check_statistics(make_strategy(Scratch, backbone=plain), data(8, 1), 1)


@pytest.mark.parametrize(
    ("monitor", "sentence"),
    [
        ("validation/accuracy", None),
        ("validation/loss", None),
        ("train/loss", None),
        ("learning_rate/head", None),
        (
            "learning_rate/heads",
            r"learning_rate/heads: this run logs no such number.*Did you mean 'learning_rate/head'",
        ),
        ("train/jsd", r"train/jsd: this run logs no such number"),
        ("val_loss", r"val_loss: this run logs no such number, only validation/accuracy"),
    ],
)
@pytest.mark.parametrize("make", [EarlyStopping, lambda monitor: ModelCheckpoint(monitor=monitor)])
def test_a_callback_watches_a_logged_number(make: Callable[[str], Any], monitor: str, sentence: str | None) -> None:
    strategy = make_strategy(FinetuneAll)
    if sentence is None:
        check_monitors([make(monitor)], strategy, data(8, 4))
        return
    with pytest.raises(ConfigError, match=sentence):
        check_monitors([make(monitor)], strategy, data(8, 4))
    check_monitors([make(monitor)], make_strategy(NearestCentroid), data(8, 4))  # calls none


def test_a_number_of_the_end_of_an_epoch_is_not_watched_before() -> None:
    early = EarlyStopping("train/loss", check_on_train_epoch_end=False)
    with pytest.raises(ConfigError, match="known only at the end of an epoch"):
        check_monitors([early], make_strategy(FinetuneAll), data(8, 4))
    early = EarlyStopping("validation/loss", check_on_train_epoch_end=False)
    check_monitors([early], make_strategy(FinetuneAll), data(8, 4))


@pytest.mark.parametrize("limit", [1.0, 0.5, 1, 3])
def test_a_share_of_the_batches_that_is_a_batch(limit: float) -> None:
    check_limits(limited(limit), data(8, 4, held_out=8))


@pytest.mark.parametrize("name", ["train", "val", "test", "predict"])
def test_a_share_of_the_batches_that_is_none(name: str) -> None:
    trainer = limited(1.0)
    setattr(trainer, f"limit_{name}_batches", 0.4)
    with pytest.raises(
        ConfigError, match=rf"trainer.limit_{name}_batches=0.4 is less than one of 2 batches.*least 0.5,"
    ):
        check_limits(trainer, data(8, 4, held_out=8))


def limited(limit: float) -> Any:
    return SimpleNamespace(**{f"limit_{name}_batches": limit for name in ("train", "val", "test", "predict")})


@pytest.mark.slow
@pytest.mark.parametrize("watched", ["validation/loss", "train/loss", "samples_per_second", "learning_rate/head"])
def test_a_run_can_stop_by_any_logged_number(watched: str) -> None:
    tiny = "debug=fast dataset.counts=[6,4,4] dataset.image_size=32 dataset.num_workers=0 backbone.weights=null"
    watching = ["callbacks=early_stopping", f"callbacks.early_stopping.monitor={watched}", "trainer.accelerator=cpu"]
    assert main(["train", *tiny.split(), *watching, "trainer.max_epochs=2"]) == 0
