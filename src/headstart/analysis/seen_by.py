"""A rebuilt network and the images that it sees, as measuring its robustness takes them."""

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
from headstart.robustness.measuring import Source
from headstart.training.reuse import AUTOCAST

log = logging.getLogger(__name__)
BATCH = 64
"""Images that pass at once, whatever the run's batch size, so that runs of different ones share them."""
Body = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Images uint8 (N, S, S, 3) to features (N, D)."""


@dataclass
class SeenBy:
    """A network without its data, and which rows of predictions.csv count."""

    body: Body
    body_key: str
    """Equal for two networks that have the same features."""
    head: nn.Module
    forward_context: Callable[[], object]
    device: torch.device
    dtype: torch.dtype
    """Of the head's weights."""
    rows: NDArray[np.int64]
    places: NDArray[np.int64]
    """Where these rows are among all images that pass, sorted by position."""

    def rows_of(self, values: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """What is known of all that passed, for the rows alone."""
        return values[self.places]

    def features(self, views: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features (N, D) of images uint8 (V, N, S, S, 3): the mean over their views."""
        return np.mean([self.body(view) for view in views], axis=0)

    @torch.inference_mode()
    def predict(self, features: NDArray[np.float32]) -> NDArray[np.int64]:
        """Classes (N,) of features (N, D)."""
        with self.forward_context():  # type: ignore[attr-defined]
            logits = self.head(torch.from_numpy(features).to(self.device, self.dtype))
        return logits.argmax(dim=1).cpu().numpy()


def seen_by(rebuilt: Rebuilt, images: int | None) -> SeenBy:
    """At most so many test images, each class in its share. Raises DataError where leaving some out changes answers.

    The whole network rests, so its features come from the fastest engine that agrees with PyTorch, as frozen ones do.
    """
    rows = stratified(rebuilt.predictions.targets, images or len(rebuilt.positions))
    if rebuilt.depends_on_batch and len(rows) < len(rebuilt.positions):
        raise DataError(
            "its answers depend on the images that come together (strategy.batch_norm=batch), so all have to be"
            " tested; leave --images out"
        )
    chosen = rebuilt.positions[rows]
    passing = np.arange(len(rebuilt.data.test)) if rebuilt.depends_on_batch else np.sort(chosen)
    body, key = _body(rebuilt)
    return SeenBy(
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
    """What gives the features, and what determines them."""
    strategy, device, precision = rebuilt.strategy, rebuilt.device, str(rebuilt.trainer.precision)
    direct = _direct(rebuilt)
    if rebuilt.depends_on_batch or precision not in AUTOCAST:
        return direct, rebuilt.run.id
    stages = len(strategy.backbone.stages)
    prefix = FrozenPrefix(strategy.backbone, stages, strategy.pixel_scale, strategy.pixel_shift, strategy.channels_last)
    split = rebuilt.data.test.without_views()

    def sample(count: int) -> NDArray[np.uint8]:
        return np.stack([split.image(number % len(split)) for number in range(count)])

    many = 5 * 15 * len(split)
    work = Work(prefix, device, AUTOCAST[precision], many, sample)
    engine = EngineChoice(work, "auto").engine()
    body = _by_engine(engine)
    some = sample(engine.batch)
    apart = relative_error(body(some), direct(some))
    if not apart < work.tolerance:
        log.warning(
            "%s: the engine %s is not the network (relative error %.1e), which is passed by PyTorch",
            rebuilt.run.directory.name, engine.name, apart,
        )  # fmt: skip
        return direct, rebuilt.run.id
    return body, digest_of({**prefix.key(), "precision": precision})


def _direct(rebuilt: Rebuilt) -> Body:
    """As the test pass has it."""

    @torch.inference_mode()
    def features(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        with rebuilt.trainer.precision_plugin.forward_context():
            inputs = torch.from_numpy(images).permute(0, 3, 1, 2).to(rebuilt.device)
            return rebuilt.strategy.features(inputs).float().cpu().numpy()

    return features


def _by_engine(engine: Engine) -> Body:
    """All lanes at once, each with batches of the engine's size, the last one filled up."""

    def features(images: NDArray[np.uint8]) -> NDArray[np.float32]:
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


def source_of(rebuilt: Rebuilt, network: SeenBy) -> Source:
    """The test images of a run: what the test pass loads, less what does not count."""
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
