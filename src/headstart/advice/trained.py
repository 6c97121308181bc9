"""Train by gradient steps on the images that compare the solved candidates, and score every epoch on held-out images.

A run keeps the epoch that is best on its held-out images, and looks too good on them. So one half of the held-out
images of a training chooses the epoch, and the other half scores it. The epoch that is best on another fold would not
do: it belongs to another training, and the same epoch of two trainings may differ by several points.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from headstart.advice.candidates import Outcomes, ScoredCandidate, fold_positions, outcomes_of, scored_by_halves
from headstart.console import errors_only
from headstart.crashes import crash_of
from headstart.data import ImageData, ImageSplit
from headstart.inputs.collection import ChosenImages, Concatenated
from headstart.inputs.images import Images
from headstart.interrupt import Interrupted, listening
from headstart.progress import within
from headstart.strategies.network import in_order
from headstart.training import compose
from headstart.training.late_checks import check_statistics
from headstart.training.prepare import RunParts, prepare, run_settings
from headstart.training.run import cached_features
from headstart.workers import as_raised, end_all

log = logging.getLogger(__name__)


def try_trained(backbone: str, stage: str, strategy: str, settings: DictConfig, folds: int) -> ScoredCandidate:
    """Train once for each fold, or once if the validation split takes their place, and return the result.

    ``backbone`` is the name of its config, ``stage`` the last one. ``settings`` are those of a run; its test images are
    not used, and it leaves no files. The seconds are those of one training: the mean over the folds.
    """
    config = OmegaConf.create(run_settings(settings))
    data = compose.make_data(config)
    correct, losses, seconds = [], [], []
    pool: FoldImages | None = None
    for fold in range(folds):
        name = f"{strategy}, fold {fold + 1} of {folds}" if folds > 1 else strategy
        with (
            TemporaryDirectory(prefix="headstart-") as folder,
            within(name),
            errors_only("headstart"),
            _interruptible(),
        ):
            parts = prepare(config, Path(folder), data=data.unprepared())
            if folds > 1:
                pool = pool or FoldImages(parts.data)
                pool.hold_out(parts.data, folds, fold)
            outcomes, took = _trained(parts)
        log.info("%s: trained in %.1f s", name, took)
        right, loss = scored_by_halves(outcomes)
        correct.append(right)
        losses.append(loss)
        seconds.append(took)
    scored = np.concatenate(correct)
    mean = float(np.average(losses, weights=[len(right) for right in correct]))
    return ScoredCandidate(backbone, stage, [], strategy, scored, mean, float(np.mean(seconds)))


def _trained(parts: RunParts) -> tuple[Outcomes, float]:
    """Train as a run does; return the outcomes of each epoch on the validation images, and the seconds."""
    check_statistics(parts.strategy, parts.data, parts.trainer.world_size)
    outputs = EpochOutputs()
    parts.trainer.callbacks.remove(parts.keep)  # type: ignore[attr-defined]  # nothing will be resumed
    parts.trainer.callbacks.append(outputs)  # type: ignore[attr-defined]
    begun = time.perf_counter()
    cached, at_start = cached_features(parts)
    parts.strategy.fit(parts.trainer, cached or parts.data, at_start)
    seconds = time.perf_counter() - begun
    for source in (cached, *([at_start] if at_start is not cached else [])):
        # Another fold may have computed some features; a run would compute them itself.
        kept = source.outcomes.values() if source is not None else ()
        seconds += sum(one.seconds_a_row * one.total - one.seconds for one in kept)
    return outcomes_of(outputs.epochs, torch.from_numpy(parts.data.validation.targets)), seconds


class EpochOutputs(pl.Callback):
    """A collector of the outputs for all validation images, (N, classes), after each epoch."""

    def __init__(self) -> None:
        self.epochs: list[Tensor] = []
        self._batches: list[tuple[Tensor, Tensor]] = []

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *args: Any
    ) -> None:
        """Keep the outputs of a batch, and the positions of its images."""
        self._batches.append((outputs.cpu(), batch.positions.cpu()))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Sort the outputs into the order of the images, unless this is the check before training."""
        if not trainer.sanity_checking:
            self.epochs.append(in_order(self._batches))
        self._batches = []


class FoldImages:
    """The training and validation images of a data set together, decoded once for all folds."""

    def __init__(self, data: ImageData) -> None:
        both = [data.train.images, data.validation.images]
        for images in both:
            images.load("images")
        self.ids = [name for images in both for name in images.ids]
        self.contents = [content for images in both for content in images.contents]
        self.undecoded = Concatenated([images.undecoded for images in both])
        kept = [images.decoded for images in both if images.decoded is not None]
        self.decoded = [image for images in kept for image in images] if len(kept) == len(both) else None
        self.targets: NDArray[np.int64] = np.concatenate([data.train.targets, data.validation.targets])

    def hold_out(self, data: ImageData, folds: int, fold: int) -> None:
        """Make one of the folds the validation images of ``data``, and the others its training images, with views."""
        stay, off = fold_positions(self.targets, folds, fold)
        train = data.train
        data.train = self._split(stay, train).with_views(train.views, train.view_seed)
        data.validation = self._split(off, train)

    def _split(self, positions: NDArray[np.int64], like: ImageSplit) -> ImageSplit:
        images = Images(
            [self.ids[place] for place in positions],
            ChosenImages(self.undecoded, positions),
            like.images.decoder,
            [self.contents[place] for place in positions],
            like.images.keep,
            None if self.decoded is None else [self.decoded[place] for place in positions],
            like.images.spare_bytes,
        )
        return ImageSplit(images, self.targets[positions], like.size)


@contextmanager
def _interruptible() -> Iterator[None]:
    """End at once when a signal asks for it, and raise the errors of training in readable form."""
    with listening() as stop:
        try:
            yield
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | SystemExit) or stop.asked:
                raise Interrupted(stop.reason) from error  # Lightning turns KeyboardInterrupt into SystemExit
            end_all()
            raise (crash_of(error) or as_raised(error)) from error.__cause__
