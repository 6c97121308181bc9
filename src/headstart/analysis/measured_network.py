"""Prepare a rebuilt network and its test images for measuring robustness."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from headstart.analysis.explain.embedding import stratified
from headstart.analysis.explain.network import Rebuilt
from headstart.errors import DataError
from headstart.features.choice import EngineChoice, Work, relative_error
from headstart.features.engines import Engine
from headstart.features.prefix import FrozenPrefix
from headstart.features.store import digest_of
from headstart.inputs.signature import StoredArray
from headstart.robustness.measuring import Source
from headstart.training.reuse import AUTOCAST

log = logging.getLogger(__name__)
BATCH = 64
"""Images per pass, whatever the run's batch size, so that runs with different batch sizes share corrupted images."""
Body = Callable[[StoredArray], NDArray[np.float32]]
"""A function from images (N, S, S, C) to features (N, D)."""


@dataclass
class MeasuredNetwork:
    """A network without its data, and the rows of predictions.csv on which it is tested."""

    body: Body
    body_key: str
    """Equal for two networks that give the same features."""
    head: nn.Module
    forward_context: Callable[[], object]
    device: torch.device
    dtype: torch.dtype
    """The type of the head's weights."""
    rows: NDArray[np.int64]
    places: NDArray[np.int64]
    """The index of each row among the images that pass, which are sorted by position."""

    def rows_of(self, values: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Select the values of the tested rows from the values of all images that passed."""
        return values[self.places]

    def features(self, views: StoredArray) -> NDArray[np.float32]:
        """Return the features (N, D) of images (V, N, S, S, C), averaged over the V views."""
        return np.mean([self.body(view) for view in views], axis=0)

    @torch.inference_mode()
    def predict(self, features: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the predicted classes (N,) of features (N, D)."""
        with self.forward_context():  # type: ignore[attr-defined]
            logits = self.head(torch.from_numpy(features).to(self.device, self.dtype))
        return logits.argmax(dim=1).cpu().numpy()


def measured_network(rebuilt: Rebuilt, images: int | None) -> MeasuredNetwork:
    """Return the network, to be tested on at most ``images`` test images with the classes in proportion.

    The features come from the fastest engine that agrees with PyTorch, as those of frozen layers do. Raises DataError
    if testing fewer images would change the predictions.
    """
    rows = stratified(rebuilt.predictions.targets, images or len(rebuilt.positions))
    if rebuilt.depends_on_batch and len(rows) < len(rebuilt.positions):
        raise DataError(
            "its predictions depend on the other images of a batch (strategy.batch_norm=batch), so all images must be"
            " tested; leave out --images"
        )
    chosen = rebuilt.positions[rows]
    passing = np.arange(len(rebuilt.data.test)) if rebuilt.depends_on_batch else np.sort(chosen)
    body, key = _body(rebuilt)
    return MeasuredNetwork(
        body,
        key,
        rebuilt.strategy.head,
        rebuilt.trainer.precision_plugin.forward_context,
        rebuilt.device,
        rebuilt.strategy.pixel_scale.dtype,
        rows,
        np.searchsorted(passing, chosen),
    )


def _body(rebuilt: Rebuilt) -> tuple[Body, str]:
    """Return the function that computes the features, and the key of what determines them."""
    strategy, device, precision = rebuilt.strategy, rebuilt.device, str(rebuilt.trainer.precision)
    direct = _direct(rebuilt)
    if rebuilt.depends_on_batch or precision not in AUTOCAST:
        return direct, rebuilt.run.id
    stages = len(strategy.backbone.stages)
    prefix = FrozenPrefix(strategy.backbone, stages, strategy.pixel_scale, strategy.pixel_shift, strategy.channels_last)
    split = rebuilt.data.test.without_views()

    def sample(count: int) -> StoredArray:
        return np.stack([split.image(number % len(split)) for number in range(count)])

    many = 5 * 15 * len(split)
    work = Work(prefix, device, AUTOCAST[precision], many, sample)
    engine = EngineChoice(work, "auto").engine()
    body = _by_engine(engine)
    some = sample(engine.batch)
    error = relative_error(body(some), direct(some))
    if not error < work.tolerance:
        log.warning(
            "%s: the engine %s differs from PyTorch (relative error %.1e); PyTorch is used",
            rebuilt.run.directory.name, engine.name, error,
        )  # fmt: skip
        return direct, rebuilt.run.id
    return body, digest_of({**prefix.key(), "precision": precision})


def _direct(rebuilt: Rebuilt) -> Body:
    """Return the function that computes features as the test pass does."""

    @torch.inference_mode()
    def features(images: StoredArray) -> NDArray[np.float32]:
        with rebuilt.trainer.precision_plugin.forward_context():
            inputs = torch.from_numpy(images).permute(0, 3, 1, 2).to(rebuilt.device)
            return rebuilt.strategy.features(inputs).float().cpu().numpy()

    return features


def _by_engine(engine: Engine) -> Body:
    """Return the function that runs all lanes at once on batches of the engine's size, the last one padded."""

    def features(images: StoredArray) -> NDArray[np.float32]:
        starts = range(0, len(images), engine.batch)
        filled = np.resize(images, (len(starts) * engine.batch, *images.shape[1:]))
        batches = [filled[start : start + engine.batch] for start in starts]
        if engine.lanes == 1:
            found = [engine(batch) for batch in batches]
        else:
            with ThreadPoolExecutor(engine.lanes) as pool:
                found = list(pool.map(engine, batches))
        return np.concatenate(found)[: len(images)].astype(np.float32)

    return features


def source_of(rebuilt: Rebuilt, network: MeasuredNetwork) -> Source:
    """Return the test images that the network is tested on, loaded as the test pass loads them."""
    data = rebuilt.data
    split = data.test
    if rebuilt.strategy.averaged_views:
        split = split.with_views(data.train.views, data.augmentation_seed)
        split.source.load("test images")
    if rebuilt.depends_on_batch:
        batches = list(rebuilt.batches())
    else:
        chosen = np.sort(rebuilt.positions[network.rows])
        batches = [chosen[start : start + BATCH] for start in range(0, len(chosen), BATCH)]
    views = rebuilt.strategy.averaged_views or 1
    return Source(split.image, split.targets, batches, views, in_turn=bool(split.views))
