"""Classifiers on fixed features: computed, not trained by gradient steps on images."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytorch_lightning as pl

from headstart.backbones import Backbone
from headstart.errors import ConfigError
from headstart.progress import ProgressLine
from headstart.settings.rules import check_flag
from headstart.solvers.features import Features
from headstart.solvers.probe_fit import joined
from headstart.strategies.checks import count
from headstart.strategies.linear_head import check_linear_head
from headstart.strategies.plan import PlanGroup
from headstart.strategies.strategy import Strategy
from headstart.tasks import Classification

OnRow = Callable[[int, dict[str, float]], None]


class FeatureClassifier(Strategy):
    """The backbone frozen; a classifier computed from the features of the training images.

    A subclass tries settings in turn, writes a row of scores for each and keeps the best on validation: accuracy
    first, then loss. ``views`` is how many augmented views of an image are averaged in feature space, for training,
    validation and test alike ("CNN Features off-the-shelf", arXiv:1403.6382, does it with crops and turns).

    With ``refit`` the head that is tested is computed once more, from training and validation images together and with
    the setting that was chosen; validation scores and predictions are those of the head before.
    """

    picked = ""  # the setting that is chosen on validation: its column in metrics.csv
    solver = ""  # what computes the head: stands in the plan in place of its mode

    def __init__(
        self,
        backbone: Backbone,
        task: Classification,
        *args: Any,
        views: int | None = None,
        refit: bool = False,
        **kwargs: Any,
    ) -> None:
        who = f"strategy={self.config_name()}"
        check_flag("strategy.refit", refit)
        if views is not None:
            count("strategy.views", views, ", or null")
        if task.head.dropout:
            raise ConfigError(f"{who} trains nothing by gradient steps, so head.dropout has to stay 0.")
        check_linear_head(task, who)
        super().__init__(backbone, task, *args, **kwargs)
        if self.augmented and (views is None or self.mixes):
            raise ConfigError(
                f"{who} works on features computed once, so it takes no augmentation as such: use augmentation=none, or"
                " strategy=head_only, or strategy.views=8 to average so many views of each image (not of a mix)."
            )
        if views is not None and not self.augmented:
            raise ConfigError(f"strategy.views={views}: views of what? Name one, as in augmentation=crop_resize.")
        if self.batch_norm == "update":
            raise ConfigError(
                f"{who} makes no training step in which statistics could move: use strategy.batch_norm=adapt."
            )
        self.averaged_views, self.refits = views, refit
        self._images: Features | None = None  # of training and validation, until the refit

    @classmethod
    def config_name(cls) -> str:
        """What the settings call it."""
        raise NotImplementedError

    def trained_stages(self) -> list[str]:
        """None."""
        return []

    def head_started_from(self) -> str:
        """Where its weights come from."""
        return "features"

    def _head_groups(self) -> list[PlanGroup]:
        """No optimizer moves the head, so it has neither a learning rate nor weight decay."""
        return [
            replace(group, learning_rate=None, weight_decay=None, solver=self.solver)
            for group in super()._head_groups()
        ]

    def compute_head(self, train: Features, validation: Features, on_row: OnRow) -> int:
        """Put the best classifier into the head, after a row of scores for each that was tried; its number."""
        raise NotImplementedError

    def compute_again(self, images: Features) -> None:
        """Put the classifier of the setting that was chosen, computed from these images, into the head."""
        raise NotImplementedError

    def refit(self) -> None:
        """Compute the head from training and validation images, if asked for; nothing is read of test."""
        if self._images is None:
            return
        begun = time.perf_counter()
        with ProgressLine(f"{self.config_name()} on training and validation images", unit=""):
            self.compute_again(self._images)
        self.selected |= {"refit": True, "refit_images": len(self._images.targets)}
        self._images = None
        self.seconds_trained += time.perf_counter() - begun

    def fit(self, trainer: pl.Trainer, data: Any, start: Any = None, progress: Any = None) -> int:
        """Compute features, then the head; the number of the row that was chosen. There is no progress to go on from.

        What was computed is kept by the feature store."""
        device: Any = trainer.strategy.root_device
        self.begin(data, device)
        self.to(device)
        self.train()
        self.on_fit_start()
        begun = time.perf_counter()
        with trainer.precision_plugin.forward_context():
            train, validation = self.start_features(data, device)
            held_out = validation()

        def on_row(number: int, row: dict[str, float]) -> None:
            for logger in trainer.loggers:
                logger.log_metrics({"epoch": number, **row}, step=number)

        with ProgressLine(self.config_name(), unit=""):
            number = self.compute_head(train, held_out, on_row)
        self._images = joined(train, held_out) if self.refits else None
        self.check_frozen()
        self.seconds_trained, self.samples_trained = time.perf_counter() - begun, len(train.targets)
        return number

    def choices(self, tried: int) -> dict[str, int]:
        """Return what is picked; there are no epochs."""
        return {self.picked: tried} if self.picked else {}

    def describe_choice(self, number: int, row: dict[str, float], tried: int) -> str:
        """What was chosen, for people."""
        chosen = f"{self.picked} {row[self.picked]:g}, the best of {tried} on validation" if tried > 1 else self.solver
        if not self.refits:
            return chosen
        return f"{chosen}; then refitted on training and validation images, {self.selected['refit_images']} in all"
