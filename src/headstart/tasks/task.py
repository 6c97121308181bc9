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

    ``outputs`` (N, ...) come from the head. Targets are what the data set gives, or what ``soft`` makes of them.
    """

    kind: str  # a key of ``headstart.kinds.KINDS``, which has the parts of a task that need no network
    head: LinearHead  # its settings
    by_pixel: bool  # whether outputs and targets have a value for each pixel; targets then move with the views

    @property
    def balanced(self) -> bool:
        """Return whether all classes have equal total weight in training."""

    @property
    def linear(self) -> bool:
        """Return whether a linear output layer gives the outputs themselves, so that its weights can be solved for."""

    @classmethod
    def settings_of(cls, data: Any) -> Mapping[str, Any]:
        """Return the arguments that a prepared data set determines, e.g. the number of classes."""

    def make_head(self, feature_dim: int, seed: int) -> nn.Module:
        """Return new output layers, from features (N, D) to outputs (N, K), initialised from only the seed."""

    def soft(self, targets: Tensor) -> Tensor:
        """Return targets as float32 that can be mixed."""

    def loss(self, outputs: Tensor, targets: Tensor, training: bool = False) -> Tensor:
        """Return the mean loss over N items, in float32 or wider."""

    def tally(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return what each item adds to the primary metric, (N, M), where M depends on the task alone."""

    def primary_of(self, tallies: Tensor) -> float:
        """Return the primary metric of N items, from their tallies (N, M), computed in float64."""

    def mean_over_views(self, outputs: Tensor) -> Tensor:
        """Return outputs (N, K) of the predictions averaged over V views, from outputs (V, N, K)."""

    def spread_over_views(self, outputs: Tensor) -> Tensor:
        """Return the spread of the predictions for V views about their mean, a scalar, from outputs (V, N, K)."""

    def start_head(self, head: nn.Module, features: Features) -> None:
        """Set the head's weights for ``head.init=class_means``."""

    def make_neighbours(
        self, values: Tensor, targets: Tensor, neighbours: int, temperature: float
    ) -> NearestNeighbours:
        """Return a head that predicts from the nearest of these images: features (M, D) and targets."""

    def fit_probe(self, train: Features, validation: Features, strengths: Sequence[float] | None = None) -> Probe:
        """Return a linear model on features, with the L2 strength that is best on validation."""


class PixelTask(ProbeTask, Protocol):
    """The part of a task with a value for each pixel that differs from others: its outputs are too large to be kept."""

    def loss(self, outputs: Tensor, targets: Tensor, training: bool = False) -> Tensor:
        """Return the mean loss over pixels with a target."""

    def tally(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return what each image adds to the primary metric, (N, M)."""

    def primary_of(self, tallies: Tensor) -> float:
        """Return the primary metric of N images, from their tallies (N, M)."""

    def has_target(self, targets: Tensor) -> Tensor:
        """Return which pixels of targets (N, S, S) have one."""

    def kept(self, outputs: Tensor) -> Tensor:
        """Return what is kept of outputs until the end of a run, (N, S, S)."""

    def score_kept(self, kept: Tensor, targets: Any) -> dict[str, float]:
        """Return the scores of what is kept, against targets that are read on demand."""

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

        ``head`` is the head to fit, if it is not that of the task.
        """


def is_by_pixel(task: Task) -> TypeGuard[PixelTask]:
    """Return whether a task has a value for each pixel."""
    return task.by_pixel
