"""Load features of the frozen part, computed once and cached, for the trained part of a network."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytorch_lightning as pl

from headstart import ranks
from headstart.data import ImageData, ImageSplit
from headstart.data.batches import FixedShuffleBatches
from headstart.errors import HeadstartError
from headstart.features.keeping import Keeper, KeptFeatures
from headstart.features.loaders import FeatureBatches
from headstart.features.rows import InMemory, Rows

POOLED_BATCH = 1024  # rows per evaluation step if only the head runs


class FrozenData(pl.LightningDataModule):
    """The loaders of ``data``, with cached features in place of images if the frozen prefix gives constant output.

    Augmented training images stay images, new in every epoch, unless ``views`` sets a fixed number of views to cycle
    through. Validation and test always give features. If features fit neither on disk nor in memory, loaders give
    images.

    With ``averaged``, each row is the mean over that many views of its image, for training, validation and test alike.
    """

    def __init__(
        self,
        data: ImageData,
        keeper: Keeper,
        views: int | None = None,
        mixes_follow: bool = False,
        averaged: int | None = None,
    ) -> None:
        super().__init__()
        self.averaged = averaged
        self.data, self.keeper, self.views = data, keeper, views
        self.mixes_follow = mixes_follow  # whether batches of training images are mixed afterwards
        self.outcomes: dict[str, KeptFeatures] = {}
        self.loaders: list[tuple[str, FeatureBatches]] = []

    def train_dataloader(self, start_at: tuple[int, int] = (0, 0)) -> Any:
        """Return shuffled batches from ``start_at`` on; they hold images if features would differ in every epoch."""
        data = self.data
        views = (self.views or 0) if data.train.views else 1
        rows = self._get("train", data.train, views).rows if views and not self.mixes_follow else None
        if rows is None and views and data.train.views and not self.mixes_follow:
            raise HeadstartError(
                f"features.views={views}: {views} views per image fit neither in memory nor on disk; set fewer, or make"
                " room with features.max_size or features.dir."
            )
        if rows is None:
            return data.train_dataloader(start_at)
        shuffled = data.train_batches()
        shuffled.start_at(*start_at)
        return self._recorded(
            "train", FeatureBatches(rows, data.train.targets, data.batch_size, self.entry, shuffled, views)
        )

    def train_eval_dataloader(self, mixed: bool = False) -> Any:
        """Return the training images, not augmented, in order unless ``mixed``."""
        name = "train, not augmented" if self.data.train.views and not self.averaged else "train"
        images = lambda: self.data.train_eval_dataloader(mixed)  # noqa: E731
        return self._evaluated(name, self.data.train.without_views(), images, mixed)

    def val_dataloader(self, mixed: bool = False) -> Any:
        """Return the validation images, in order unless ``mixed``."""
        return self._evaluated("validation", self.data.validation, lambda: self.data.val_dataloader(mixed), mixed)

    def test_dataloader(self, mixed: bool = False) -> Any:
        """Return the test images, in order unless ``mixed``."""
        return self._evaluated("test", self.data.test, lambda: self.data.test_dataloader(mixed), mixed)

    @property
    def entry(self) -> int:
        """Return the stage that the features enter."""
        return self.keeper.prefix.stop

    def record(self) -> dict[str, Any]:
        """Return the features' entry in run.json: hit or miss, bytes, and the time saved at this engine's speed."""
        splits = {}
        for name, outcome in self.outcomes.items():
            passes = sum(loader.passes for split, loader in self.loaders if split == name)
            saved = max(0.0, outcome.seconds_a_row * self._images(name) * passes - outcome.seconds)
            splits[name] = {
                "rows": outcome.total,
                "found": outcome.found,
                "hit": outcome.found == outcome.total,
                "kept": outcome.kept,
                "bytes": outcome.nbytes,
                "seconds": outcome.seconds,
                "seconds_saved": saved,
            }
        return {
            "up_to": self.keeper.prefix.label,
            "engine": self.keeper.choice.name,
            "precision": self.keeper.choice.computes_in,
            "error": self.keeper.choice.made.error if self.keeper.choice.made else None,
            "hit": all(split["hit"] for split in splits.values()),
            "bytes": sum(split["bytes"] for split in splits.values()),
            "seconds": sum(split["seconds"] for split in splits.values()),
            "seconds_saved": sum(split["seconds_saved"] for split in splits.values()),
            "splits": splits,
        }

    def _images(self, name: str) -> int:
        return len({"validation": self.data.validation, "test": self.data.test}.get(name, self.data.train))

    def _evaluated(self, name: str, split: ImageSplit, images: Callable[[], Any], mixed: bool = False) -> Any:
        rows = self._averaged_rows(name, split) if self.averaged else self._get(name, split).rows
        if rows is None:
            return images()
        size = self.data.batch_size if self.keeper.prefix.exact else max(self.data.batch_size, POOLED_BATCH)
        order = FixedShuffleBatches(len(split), size) if mixed else None
        return self._recorded(name, FeatureBatches(rows, split.targets, size, self.entry, order))

    def _averaged_rows(self, name: str, split: ImageSplit) -> Rows:
        """Return features averaged over the views of each image."""
        count = self.averaged or 1
        seen = split.with_views(self.data.train.views, self.data.augmentation_seed)
        rows = self._get(name, seen, count).rows
        if rows is None:
            raise HeadstartError(
                f"strategy.views={count}: {count} views per image fit neither in memory nor on disk; set fewer, or make"
                " room with features.max_size or features.dir."
            )
        everything = np.arange(len(split))
        total = rows.take(everything).clone()
        for view in range(1, count):
            total += rows.take(everything + view * len(split))
        return InMemory(total / count)

    def _get(self, name: str, split: ImageSplit, views: int = 1) -> KeptFeatures:
        if name not in self.outcomes:
            with ranks.leader_first():  # one rank computes and stores, the others load
                self.outcomes[name] = self.keeper.get(name, split, views)
        return self.outcomes[name]

    def _recorded(self, name: str, loader: FeatureBatches) -> FeatureBatches:
        self.loaders.append((name, loader))
        return loader
