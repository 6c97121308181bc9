"""Define a task, which owns everything that depends on the kind of target."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeGuard

from torch import Tensor, nn

from headstart.solvers.features import Features
from headstart.solvers.neighbours import NearestNeighbours
from headstart.solvers.probe import OnRow, Probe, ProbeTask, ignore
from headstart.tasks.heads import LinearHead


class Task(ProbeTask, Protocol):
    """Head, loss and metrics for one kind of target.

    ``outputs`` (N, ...) come from the head. Targets come from the data set, or from ``soft``.
    """

    kind: str  # a key of ``headstart.kinds.KINDS``, which has the parts of a task that need no network
    head: LinearHead  # the settings of the head
    by_pixel: bool  # whether outputs and targets have values for each pixel; augmentations then move the targets, too

    @property
    def balanced(self) -> bool:
        """Return whether all classes, or positives and negatives, have equal total weight in training."""

    @property
    def linear(self) -> bool:
        """Return whether a linear output layer gives the outputs themselves, so that a solver can fit its weights."""

    @classmethod
    def settings_of(cls, data: Any) -> Mapping[str, Any]:
        """Return the arguments that a prepared data set determines, e.g. the number of classes."""

    def make_head(self, feature_dim: int, seed: int) -> nn.Module:
        """Return new output layers, from features (N, D) to outputs (N, K); only the seed determines their weights."""

    def soft(self, targets: Tensor) -> Tensor:
        """Return the targets as float32, so that mixup and CutMix can average them."""

    def mean_over_views(self, outputs: Tensor) -> Tensor:
        """Return outputs (N, K) that stand for the mean prediction over V views, from outputs (V, N, K)."""

    def spread_over_views(self, outputs: Tensor) -> Tensor:
        """Return the spread of the predictions for V views about their mean, a scalar, from outputs (V, N, K)."""

    def start_head(self, head: nn.Module, features: Features) -> None:
        """Set the head's weights for ``head.init=class_means``."""

    def make_neighbours(
        self, values: Tensor, targets: Tensor, neighbours: int, temperature: float
    ) -> NearestNeighbours:
        """Return a head that predicts from the nearest of M images, with features ``values`` (M, D) and targets."""

    def fit_probe(self, train: Features, validation: Features, strengths: Sequence[float] | None = None) -> Probe:
        """Return a linear model on features, with the L2 strength that is best on validation."""


class PixelTask(ProbeTask, Protocol):
    """The further methods of a task with values for each pixel; a run cannot keep its outputs, which are too large.

    The loss is the mean over pixels with a target; there is a tally for each image.
    """

    def has_target(self, targets: Tensor) -> Tensor:
        """Return which pixels have a target, boolean (N, S, S), from targets (N, S, S)."""

    def kept(self, outputs: Tensor) -> Tensor:
        """Return the predicted class or number of each pixel, (N, S, S), which a run keeps until its end."""

    def score_kept(self, kept: Tensor, targets: Any) -> dict[str, float]:
        """Return the scores of the result of ``kept``, by name, against targets that are read by index."""

    def fit_probe(
        self,
        train: Features,
        validation: Features,
        strengths: Sequence[float] | None = None,
        on_row: OnRow = ignore,
        loss: str = "ridge",
        head: nn.Module | None = None,
    ) -> Probe:
        """Return a linear head on joined maps, with the L2 strength that is best on validation.

        ``head`` is used to compute outputs; its weights change. None makes a new one.
        """


def is_by_pixel(task: Task) -> TypeGuard[PixelTask]:
    """Return whether a task has values for each pixel."""
    return task.by_pixel
