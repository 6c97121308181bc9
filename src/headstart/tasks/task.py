"""What a task owns: everything that depends on the kind of target."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from headstart.solvers.features import Features
from headstart.solvers.probe import Probe
from headstart.tasks.heads import LinearHead

OnRow = Callable[[int, dict[str, float]], None]


class Task(Protocol):
    """Head, loss and metrics for one kind of target.

    ``outputs`` (N, K) are what the head gives; targets are (N,), or (N, K) where images are mixed.
    """

    kind: str  # a key of ``headstart.kinds.KINDS``, which holds what needs no network, such as how predictions are kept
    primary: str  # the name of the primary metric
    higher_is_better: bool  # whether a higher value of it is better
    head: LinearHead  # its settings
    width: int  # K

    @property
    def balanced(self) -> bool:
        """Whether every class weighs the same in training."""

    @classmethod
    def settings_of(cls, data: Any) -> Mapping[str, Any]:
        """Return the arguments that a prepared data set determines, such as the number of classes."""

    def make_head(self, feature_dim: int, seed: int) -> nn.Module:
        """Return new output layers, features (N, D) to outputs (N, K), initialised from the seed alone."""

    def soft(self, targets: Tensor) -> Tensor:
        """Return targets (N,) as floats (N, K) that can be mixed."""

    def loss(self, outputs: Tensor, targets: Tensor, training: bool = False) -> Tensor:
        """Return the mean loss over N items, in float32 or wider."""

    def score_each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return what each item adds to the primary metric, which is the mean, float32 (N,)."""

    def score(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Return "loss" and the primary metric by its name, computed in float64."""

    def mean_over_views(self, outputs: Tensor) -> Tensor:
        """Return outputs (N, K) that average the predictions for V views, from outputs (V, N, K)."""

    def spread_over_views(self, outputs: Tensor) -> Tensor:
        """Return how far the predictions for V views, outputs (V, N, K), are from their mean; a scalar."""

    def start_head(self, head: nn.Module, features: Features) -> None:
        """Put weights into the head that ``head.init=class_means`` asks for."""

    def regress_on(self, targets: Tensor) -> Tensor:
        """Return the float64 numbers (N, K) that a least-squares fit aims at."""

    def best_scale(self, outputs: Tensor, targets: Tensor) -> float:
        """Return the factor for least-squares outputs that makes their loss least and changes no decision."""

    def weights_of(self, targets: Tensor) -> Tensor | None:
        """Return the weight of each image in a fit that is solved, (N,) of mean 1; None where all count alike."""

    def fit_probe(
        self,
        train: Features,
        validation: Features,
        strengths: Sequence[float] | None = None,
        on_row: OnRow = lambda number, row: None,
    ) -> Probe:
        """Return the linear model on features whose L2 strength is the best on validation."""
