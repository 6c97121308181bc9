"""Measure the cost of the framework: fine-tuning with headstart, compared with a plain PyTorch loop.

Both have the same network, memory format, batch size and data. They run in turns, so that other work on the machine
affects both equally. Both use a GPU if there is one.
"""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn

from benchmarks.measured import Row, compared, finetuned_in_turns, median
from headstart.backbones import Backbone, efficientnet_lite
from headstart.console import silence_lightning
from headstart.data import Textures
from headstart.records.curves import CsvCurves, TensorBoardCurves
from headstart.strategies import FinetuneAll, cosine
from headstart.strategies.modes import batch_norms
from headstart.tasks import Classification

RATE = 0.001


def plain_loop(
    backbone: Backbone,
    data: Textures,
    device: torch.device,
    channels_last: bool = True,
    half: bool = False,
    compiler: str | None = None,
) -> float:
    """Return the samples per second of one epoch of a loop written by hand.

    ``half`` computes in bf16 where autocast allows it. ``compiler`` is a backend of torch.compile; its work on a first
    batch is not counted.
    """
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    network = nn.Sequential(backbone, nn.Linear(backbone.feature_dim, data.num_classes))
    network.to(device, memory_format=memory_format).train()  # type: ignore[call-overload]
    if compiler is not None:
        network.compile(backend=compiler)
    loader = data.train_dataloader()
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE)
    scheduler = cosine(optimizer, len(loader))
    mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) * 255 for v in preprocessing_of(backbone))

    def backward(images: Tensor, targets: Tensor) -> None:
        x = images.to(device).float().contiguous(memory_format=memory_format).sub(mean).div(std)
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            loss = nn.functional.cross_entropy(network(x), targets.to(device))
        optimizer.zero_grad()
        loss.backward()

    if compiler is not None:
        images, targets, *_ = next(iter(loader))
        backward(images, targets)
        if device.type == "cuda":
            torch.cuda.synchronize()
    start, seen = time.perf_counter(), 0
    for images, targets, *_ in loader:
        backward(images, targets)
        optimizer.step()
        scheduler.step()
        seen += len(images)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return seen / (time.perf_counter() - start)


def preprocessing_of(backbone: Backbone) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and deviation of the pixels."""
    return backbone.preprocessing.mean, backbone.preprocessing.std


def through_headstart(backbone: Backbone, data: Textures, device: torch.device, **options: Any) -> float:
    """Return the samples per second of one epoch of finetune_all with all loggers.

    Batch norm updates its statistics, as in the plain loop. ``options`` are arguments of Lightning's trainer.
    """
    strategy = FinetuneAll(
        backbone=backbone,
        task=Classification(data.num_classes),
        optimizer=partial(torch.optim.AdamW, lr=RATE),
        scheduler=cosine,
        batch_norm="update" if batch_norms(backbone) else "auto",
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(
            max_epochs=1,
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=1,
            logger=[CsvCurves(folder), TensorBoardCurves(folder)],
            callbacks=[ModelCheckpoint(Path(folder) / "checkpoints", monitor="validation/accuracy", mode="max")],
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=10**6,
            limit_val_batches=1,
            **options,
        )
        strategy.fit(trainer, data)
    return strategy.clock.images_trained / strategy.clock.seconds_trained


def finetune_all(size: int, batch: int, rounds: int, labels: int = 40) -> list[Row]:
    """Measure all loops in turns; return rows of ratios and medians."""
    silence_lightning()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    make = partial(efficientnet_lite, "efficientnet_lite0", weights="imagenet", image_size=size)
    data = Textures(batch_size=batch, labels_per_class=labels, crop_fraction=1.0)
    data.prepare(make().preprocessing)
    ways = {
        "plain": lambda: plain_loop(make(), data, device),
        "not channels_last": lambda: plain_loop(make(), data, device, channels_last=False),
        "headstart": lambda: through_headstart(make(), data, device),
    }
    speeds = in_turns(ways, rounds)
    what = f"finetune_all, {size} px, batches of {batch}:"
    same = f"{what} plain loop / the same without channels_last"
    return [
        compared(f"{what} headstart / plain loop", "0.95", speeds, "headstart", "plain", 3),
        compared(same, "", speeds, "plain", "not channels_last", 3),
    ]


def in_turns(ways: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Return the speed that each function measures, one value per round, after a round that warms up."""
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, measure in ways.items():
            speed = measure()
            if number:
                speeds[name].append(speed)
    return speeds


def allocator(settings: Sequence[str], rounds: int) -> list[Row]:
    """Compare the seconds and the peak memory of a fit that returns freed memory with those of one that keeps it."""
    outcomes = finetuned_in_turns(settings, "trainer.keep_memory", ("false", "true"), rounds)
    seconds = {kept: [one.train for one in of] for kept, of in outcomes.items()}
    peaks = {
        kept: median([one.runs[0]["cost"]["peak_memory_bytes"] / 1e6 for one in of]) for kept, of in outcomes.items()
    }
    ratio = median([a / b for a, b in zip(seconds["false"], seconds["true"], strict=True)])
    figures = f"{median(seconds['false']):.1f} s / {median(seconds['true']):.1f} s, medians of {rounds}"
    memory = f"{peaks['false']:.0f} MB / {peaks['true']:.0f} MB"
    return [
        Row("finetune_all: fit with trainer.keep_memory=false / with true", f"{ratio:.2f}", "", figures),
        Row("the same, peak memory", f"{peaks['false'] / peaks['true']:.2f}", "", memory),
    ]
