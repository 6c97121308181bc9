"""Compute a head from features, without gradient steps."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from headstart.augmentations.mixes import Mix
from headstart.backbones import Backbone
from headstart.errors import ConfigError
from headstart.progress import ProgressLine
from headstart.settings.leaf_table import check_parameters
from headstart.solvers.features import Features
from headstart.solvers.probe import OnRow, Probe
from headstart.strategies.fitting import fit_solved
from headstart.strategies.linear_head import check_linear_head
from headstart.strategies.strategy import Strategy
from headstart.tasks import Task


class SolvedStrategy(Strategy):
    """A frozen backbone with a head that is computed from the features of the training images.

    A subclass tries several settings, writes a row of scores for each and keeps the best on validation: the primary
    metric first, then the loss. ``views`` is the number of augmented views whose features are averaged, in training,
    validation and test ("CNN Features off-the-shelf", arXiv:1403.6382, averages crops and rotations).

    With ``refit`` the tested head is computed again with the chosen setting, from training and validation images;
    validation scores and predictions are those of the earlier head.
    """

    by_gradient = False
    picked = ""  # the column in metrics.csv of the setting that validation chooses
    tasks: Sequence[str] = ("classification",)  # that it can solve

    def __init__(
        self,
        backbone: Backbone,
        task: Task,
        mixes: Sequence[Mix] = (),
        augmented: bool = False,
        views: int | None = None,
        refit: bool = False,
        batch_norm: str = "frozen",
        **settings: Any,
    ) -> None:
        who = f"strategy={self.config_name()}"
        check_parameters("strategy", locals())
        if task.kind not in self.tasks:
            raise ConfigError(f"{who} does not support task={task.kind}: use strategy=ridge or head_only.")
        if task.head.dropout:
            raise ConfigError(f"{who} takes no gradient steps, so head.dropout has to stay 0.")
        check_linear_head(task, who)
        super().__init__(backbone, task, mixes, augmented, batch_norm, **settings)
        if augmented and (views is None or mixes):
            raise ConfigError(
                f"{who} computes features only once, so it cannot augment images each epoch: use augmentation=none,"
                " strategy=head_only, or strategy.views=8 to average 8 views of each image (mixes are not possible)."
            )
        if views is not None and not augmented:
            raise ConfigError(f"strategy.views={views} needs an augmentation: set one, e.g. augmentation=crop_resize.")
        if self.batch_norm == "update":
            raise ConfigError(
                f"{who} takes no training steps, so batch_norm=update has no effect: use strategy.batch_norm=adapt."
            )
        self.averaged_views, self.refits = views, refit
        self.images: Features | None = None  # of training and validation, until the refit

    def compute_head(self, train: Features, validation: Features, on_row: OnRow) -> int:
        """Score each candidate in a row, put the best head in place, and return its row number."""
        raise NotImplementedError

    def compute_again(self, images: Features) -> None:
        """Compute a head from these images with the chosen setting, and put it in place."""
        raise NotImplementedError

    def trained_stages(self) -> list[str]:
        """Return no stage."""
        return []

    def head_started_from(self) -> str:
        """Return "features"."""
        return "features"

    def fit(self, trainer: Any, data: Any, start: Any = None, resume: Any = None, parts: int = 1) -> int:
        """Compute the head; return the number of the chosen row of scores."""
        return fit_solved(self, trainer, data)

    def refit(self) -> None:
        """Compute the head from training and validation images, if ``refit`` is set; no test image is read."""
        if self.images is None:
            return
        begun = time.perf_counter()
        with ProgressLine(f"{self.config_name()} on training and validation images", unit=""):
            self.compute_again(self.images)
        self.selected |= {"refit": True, "refit_images": len(self.images.targets)}
        self.images = None
        self.clock.seconds_trained += time.perf_counter() - begun

    def note_parts(self, probe: Probe, parts: Mapping[str, Probe]) -> None:
        """Record the strength that each of several outputs has chosen, and the scores of all of them together."""
        if len(parts) > 1:
            scores = {name: value for name, value in probe.scores.items() if "/" in name}
            self.selected |= {"l2": {name: one.scores["l2"] for name, one in parts.items()}, "metrics": scores}

    def choices(self, tried: int) -> dict[str, int]:
        """Return the number of candidates by chosen setting; there are no epochs."""
        return {self.picked: tried} if self.picked else {}

    def describe_choice(self, number: int, row: dict[str, float], tried: int) -> str:
        """Return the chosen setting as text for the log."""
        chosen = f"{self.picked} {row[self.picked]:g}, the best of {tried} on validation" if tried > 1 else self.solver
        if not self.refits:
            return chosen
        return f"{chosen}; then refitted on training and validation images, {self.selected['refit_images']} in all"
