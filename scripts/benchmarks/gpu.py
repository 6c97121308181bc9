"""Measure on a GPU: training, the feature store, views on the device, and ddp and fsdp on one device.

The plain loop has what a careful user would add by hand: channels_last, autocast and torch.compile, whose compilation
is not counted. All networks start from random weights, so nothing is downloaded.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch

from benchmarks import augmentation, frozen, overhead
from benchmarks.measured import Row, compared, fresh
from benchmarks.networks import make_backbone, settings_of
from headstart.backbones import Backbone
from headstart.console import silence_lightning
from headstart.data import Textures


@dataclass(frozen=True)
class Amount:
    """How much is measured."""

    networks: tuple[str, ...] = ("resnet50", "vit_b_16")
    size: int = 224  # side of the images in pixels
    batch: int = 96
    images: int = 320  # training images of each of the 12 classes
    rounds: int = 2
    epochs: int = 20  # of head_only
    compiler: str = "inductor"  # backend of torch.compile
    view_sizes: tuple[int, ...] = (64, 224)
    view_seconds: float = augmentation.SECONDS
    trainers: tuple[str, ...] = ("ddp", "fsdp")

    def counts(self) -> tuple[int, int, int]:
        """Return the images of each class in training, validation and test."""
        return self.images, max(2, self.images // 10), max(2, self.images // 10)

    def settings(self, network: str) -> list[str]:
        """Return the settings of headstart train for one network."""
        return [
            *settings_of(network),
            "backbone.weights=null",
            "dataset=textures",
            f"dataset.counts={list(self.counts())}".replace(" ", ""),
            f"dataset.image_size={self.size}",
            f"dataset.batch_size={self.batch}",
            "trainer.precision=bf16-mixed",
        ]


TOY = Amount(("test_vit",), 32, 24, 4, 1, 1, "eager", (32,), 0.02)


def all_rows(toy: bool) -> Iterator[Row]:
    """Yield all rows; ``toy`` runs the same code at toy size, also without a GPU."""
    amount = TOY if toy else Amount()
    for network in amount.networks:
        yield from training(network, amount)
    yield from store(amount.networks[0], amount)
    yield from augmentation.places(amount.rounds, amount.view_sizes, amount.view_seconds)
    yield from one_device(amount.networks[0], amount)


def training(network: str, amount: Amount) -> list[Row]:
    """Compare images per second of training in bf16-mixed with a plain loop, compiled and not."""
    silence_lightning()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    make = partial(make_backbone, network, amount.size)
    data = Textures(counts=amount.counts(), batch_size=amount.batch, crop_fraction=1.0)
    data.prepare(make().preprocessing)

    def plain(compiler: str | None) -> float:
        return overhead.plain_loop(make(), data, device, half=True, compiler=compiler)

    def ours(backbone: Backbone) -> float:
        return overhead.through_headstart(backbone, data, device, precision="bf16-mixed", deterministic="warn")

    ways = {"ours": lambda: ours(make()), "compiled": lambda: plain(amount.compiler), "plain": lambda: plain(None)}
    speeds = overhead.in_turns(ways, amount.rounds)
    what = f"finetune_all, {network}, {amount.size} px, bf16-mixed, batches of {amount.batch}: headstart / plain loop"
    options = "channels_last, autocast"
    return [
        compared(f"{what} with {options} and compile", "", speeds, "ours", "compiled"),
        compared(f"{what} with {options}", "", speeds, "ours", "plain"),
    ]


def store(network: str, amount: Amount) -> list[Row]:
    """Compare head_only without the feature store, with an empty and with a filled one."""
    rows = frozen.head_only(amount.settings(network), 1, amount.epochs)
    return [replace(row, what=f"{network}, {amount.size} px: {row.what}", aim="") for row in rows]


def one_device(network: str, amount: Amount) -> Iterator[Row]:
    """Compare training speed and result of ddp and fsdp on one device with the default."""
    with fresh([*amount.settings(network), "strategy=finetune_all", "trainer.max_epochs=2"]) as place:
        base = place.train()
        for name in amount.trainers:
            run = place.train(f"trainer={name}", "trainer.devices=1")
            speed, usual = run.last_speed, base.last_speed
            yield Row(
                f"finetune_all, {network}, {amount.size} px: trainer={name} on one device / the default",
                f"{speed / usual:.2f}",
                "",
                f"{speed:,.0f} / {usual:,.0f} images/s in the second epoch; test accuracy"
                f" {100 * run.accuracy:.1f} % / {100 * base.accuracy:.1f} %",
            )
