"""Use a trained network: outputs of new images, batch by batch, as the test pass of its run computes them."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from headstart.augmentations import FixedViews, Pipeline
from headstart.data import ImageSplit
from headstart.data.batches import FixedShuffleBatches
from headstart.features.choice import EngineError, Work, make_engine
from headstart.features.compute import Key, ahead, compute, stacked
from headstart.features.engines import Engine
from headstart.features.frozen_data import POOLED_BATCH
from headstart.features.prefix import FrozenPrefix
from headstart.features.rows import as_network_takes
from headstart.inputs.collection import Undecoded
from headstart.inputs.decoding import Decoder
from headstart.models.description import ModelDescription
from headstart.models.unlike import distances_to
from headstart.models.unseen import UnseenImages
from headstart.precision import at_least_single
from headstart.progress import ProgressLine
from headstart.strategies import Strategy
from headstart.tasks.scores import kept_of
from headstart.workers import usable_cores

AUTOCAST = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


@dataclass(frozen=True)
class NetworkOutputs:
    """The outputs of the network for some images."""

    positions: NDArray[np.int64]  # (N,) of the images
    values: Tensor  # (N, K) in the form that the kind of target takes; label images (N, S, S)
    distances: NDArray[np.float64] | None  # (N,) from the training images; None if the model does not know them


class Model:
    """A trained network in eval mode, with its description.

    ``known`` are features of training images (M, D), if the model has them. ``notes`` are sentences for the user on
    what differs from the run.
    """

    def __init__(
        self,
        description: ModelDescription,
        strategy: Strategy,
        trainer: pl.Trainer,
        decoder: Decoder,
        known: Tensor | None = None,
    ) -> None:
        self.description, self.strategy, self.trainer = description, strategy, trainer
        self.decoder, self.known = decoder, known
        self.notes: list[str] = []
        if description.inference.averaged_views:
            self.notes.append(
                "The run averaged random views of each image; predictions here are of the plain image, and differ."
            )

    @property
    def device(self) -> torch.device:
        """Return the device of the network."""
        device: Any = self.trainer.strategy.root_device
        return device

    @property
    def image_size(self) -> int:
        """Return the side of the square that the network takes, in pixels."""
        return self.description.input.image_size

    def images(self, paths: Sequence[Undecoded], names: Sequence[str] | None = None) -> UnseenImages:
        """Return images that this model can predict: files, Pillow images or arrays (H, W, 3) of uint8."""
        found = names or [str(path) if isinstance(path, Path) else str(place) for place, path in enumerate(paths)]
        return UnseenImages(found, paths, self.decoder)

    def outputs(self, images: UnseenImages, batch_size: int | None = None) -> Iterator[NetworkOutputs]:
        """Yield the outputs of all images in order, some at a time; memory does not grow with their number.

        They are computed as in the test pass of the run: by the same engine, in batches of the same size. So the same
        files in the same order give the same bits on the same machine. A network whose batch norm reads the statistics
        of batches mixes the images and yields once.
        """
        size = batch_size or self.description.inference.batch_size
        with ProgressLine("predicting", len(images)) as progress:
            for found in self._in_order(self._batches(images, size, batch_size is not None)):
                yield found
                progress.advance(len(found.positions))

    def _in_order(self, found: Iterable[NetworkOutputs]) -> Iterator[NetworkOutputs]:
        if self.strategy.batch_norm != "batch":
            yield from found
            return
        parts = list(found)  # every image depends on those of its batch, which are drawn from all of them
        positions = np.concatenate([part.positions for part in parts])
        order = positions.argsort()
        distances = [part.distances for part in parts if part.distances is not None]
        yield NetworkOutputs(
            positions[order],
            torch.cat([part.values for part in parts])[torch.from_numpy(order)],
            np.concatenate(distances)[order] if distances else None,
        )

    def _batches(self, images: UnseenImages, size: int, is_given: bool) -> Iterator[NetworkOutputs]:
        """Yield the outputs, by the engine of the run if it used one."""
        split = ImageSplit(images, np.zeros(len(images), dtype=np.int64), self.image_size)
        engine = self._engine(split) if self.description.inference.engine is not None else None
        if engine is None:
            return self._through_the_network(split, size)
        prefix, made = engine
        rows = size if is_given or prefix.exact else max(size, POOLED_BATCH)
        return self._by_engine(split, made, prefix.stop, rows)

    def _engine(self, split: ImageSplit) -> tuple[FrozenPrefix, Engine] | None:
        """Return the frozen part of the network and its engine; None where the device or the precision has none."""
        strategy, inference = self.strategy, self.description.inference
        if self.device.type not in ("cpu", "cuda") or str(self.trainer.precision) not in AUTOCAST:
            return None
        prefix = FrozenPrefix(
            strategy.backbone, inference.prefix, strategy.pixel_scale, strategy.pixel_shift, strategy.channels_last
        )
        some = range(min(16, len(split)))
        work = Work(
            prefix.to(self.device),
            self.device,
            AUTOCAST[str(self.trainer.precision)],
            len(split),
            lambda count: stacked(split, [(0, place) for place in some][:count], count),
        )
        try:
            return prefix, make_engine(str(inference.engine), work)
        except EngineError as error:
            self.notes.append(
                f"The run's engine {inference.engine} cannot be used ({error}); PyTorch computes instead."
            )
            return prefix, make_engine("torch", work)

    @torch.inference_mode()
    def _by_engine(self, split: ImageSplit, engine: Engine, entry: int, rows: int) -> Iterator[NetworkOutputs]:
        keys: list[Key] = [(0, place) for place in range(len(split))]
        start = 0
        for stored in _regrouped(compute(split, keys, engine, "predicting"), rows):
            values = as_network_takes(torch.from_numpy(stored)).to(self.device)
            with self.trainer.precision_plugin.forward_context():
                features = self.strategy.features(values, entry)
                outputs = self.strategy.head(features)
            yield self._found(np.arange(start, start + len(stored)), outputs, features)
            start += len(stored)

    @torch.inference_mode()
    def _through_the_network(self, split: ImageSplit, size: int) -> Iterator[NetworkOutputs]:
        name = self.description.inference.test_views
        if name is not None:
            split = split.with_views(Pipeline([FixedViews(name)]), 0)
        count = len(split)
        mixed = self.strategy.batch_norm == "batch"
        batches = (
            FixedShuffleBatches(count, size).positions()
            if mixed
            else [np.arange(start, min(start + size, count)) for start in range(0, count, size)]
        )
        for batch in ahead(split.__getitems__, batches, usable_cores(), 2 * usable_cores()):
            seen: list[Tensor] = []
            hook = self.strategy.head.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0]))
            try:
                with self.trainer.precision_plugin.forward_context():
                    outputs = self.strategy.over_views(batch.to(self.device))
            finally:
                hook.remove()
            positions = batch.positions.numpy()
            yield self._found(positions, outputs, seen[0][: len(positions)])

    def _found(self, positions: NDArray[np.int64], outputs: Tensor, features: Tensor) -> NetworkOutputs:
        distances = None
        if self.known is not None and self.description.unlike is not None:
            self.known = self.known.to(features.device)
            distances = distances_to(self.known, at_least_single(features), self.description.unlike.neighbours)
        return NetworkOutputs(positions, kept_of(self.strategy.task, outputs), distances)


def _regrouped(parts: Generator[NDArray[Any], None, None], size: int) -> Iterator[NDArray[Any]]:
    """Yield the rows of the parts, ``size`` at a time."""
    waiting: list[NDArray[Any]] = []
    for part in parts:
        waiting.append(part)
        while sum(map(len, waiting)) >= size:
            whole = np.concatenate(waiting)
            yield whole[:size]
            waiting = [whole[size:]]
    if sum(map(len, waiting)):
        yield np.concatenate(waiting)
