"""A head that is computed from features, not trained by gradient steps."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from headstart.augmentations.mixes import Mix
from headstart.backbones import Backbone
from headstart.errors import ConfigError
from headstart.progress import ProgressLine
from headstart.settings.leaf_table import check_parameters
from headstart.solvers.features import Features
from headstart.strategies.fitting import fit_solved
from headstart.strategies.linear_head import check_linear_head
from headstart.strategies.strategy import Strategy
from headstart.tasks import Task

OnRow = Callable[[int, dict[str, float]], None]


class SolvedStrategy(Strategy):
    """The backbone frozen; the head computed from the features of the training images.

    A subclass tries settings in turn, writes a row of scores for each and keeps the best on validation: the primary
    metric first, then the loss. ``views`` is how many augmented views of an image are averaged in feature space, for
    training, validation and test alike ("CNN Features off-the-shelf", arXiv:1403.6382, does it with crops and turns).

    With ``refit`` the head that is tested is computed once more, from training and validation images together and with
    the setting that was chosen; validation scores and predictions are those of the head before.
    """

    by_gradient = False
    picked = ""  # the setting that is chosen on validation: its column in metrics.csv
    only_classes = True  # whether it takes no other task than classification

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
        if self.only_classes and task.kind != "classification":
            raise ConfigError(f"{who} needs classes, and task={task.kind} has none: use strategy=ridge or head_only.")
        if task.head.dropout:
            raise ConfigError(f"{who} trains nothing by gradient steps, so head.dropout has to stay 0.")
        check_linear_head(task, who)
        super().__init__(backbone, task, mixes, augmented, batch_norm, **settings)
        if augmented and (views is None or mixes):
            raise ConfigError(
                f"{who} works on features computed once, so it takes no augmentation as such: use augmentation=none, or"
                " strategy=head_only, or strategy.views=8 to average so many views of each image (not of a mix)."
            )
        if views is not None and not augmented:
            raise ConfigError(f"strategy.views={views}: views of what? Name one, as in augmentation=crop_resize.")
        if self.batch_norm == "update":
            raise ConfigError(
                f"{who} makes no training step in which statistics could move: use strategy.batch_norm=adapt."
            )
        self.averaged_views, self.refits = views, refit
        self.images: Features | None = None  # of training and validation, until the refit

    def compute_head(self, train: Features, validation: Features, on_row: OnRow) -> int:
        """Put the best head in place, after a row of scores for each that was tried; return its number."""
        raise NotImplementedError

    def compute_again(self, images: Features) -> None:
        """Put a head in place that is computed from these images, with the setting that was chosen."""
        raise NotImplementedError

    def trained_stages(self) -> list[str]:
        """Return none."""
        return []

    def head_started_from(self) -> str:
        """Return "features"."""
        return "features"

    def fit(self, trainer: Any, data: Any, start: Any = None, resume: Any = None, parts: int = 1) -> int:
        """Compute the head; return the number of the row of scores that was chosen."""
        return fit_solved(self, trainer, data)

    def refit(self) -> None:
        """Compute the head from training and validation images, if asked for; nothing is read of test."""
        if self.images is None:
            return
        begun = time.perf_counter()
        with ProgressLine(f"{self.config_name()} on training and validation images", unit=""):
            self.compute_again(self.images)
        self.selected |= {"refit": True, "refit_images": len(self.images.targets)}
        self.images = None
        self.clock.seconds_trained += time.perf_counter() - begun

    def choices(self, tried: int) -> dict[str, int]:
        """Return what is picked; there are no epochs."""
        return {self.picked: tried} if self.picked else {}

    def describe_choice(self, number: int, row: dict[str, float], tried: int) -> str:
        """Return, for people, which setting was chosen."""
        chosen = f"{self.picked} {row[self.picked]:g}, the best of {tried} on validation" if tried > 1 else self.solver
        if not self.refits:
            return chosen
        return f"{chosen}; then refitted on training and validation images, {self.selected['refit_images']} in all"
