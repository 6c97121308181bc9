"""Predict one or several numbers per image: a head in the unit of the targets, squared error or bins, R²."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.errors import ConfigError
from headstart.kinds import KINDS
from headstart.kinds.per_image import mean_r_squared
from headstart.precision import at_least_single
from headstart.settings.leaf_table import check_parameters
from headstart.solvers.blocks import Matrix
from headstart.solvers.features import Features
from headstart.solvers.neighbours import NearestNeighbours, NeighbourMean
from headstart.solvers.probe import Probe
from headstart.solvers.ridge import STRENGTHS, fit_ridge
from headstart.tasks.bins import NumberBins, bin_edges, bin_loss
from headstart.tasks.heads import LinearHead, Rescaled


class Regression:
    """K numbers per image; targets are always (N, K).

    ``mean``, ``deviation``, ``low`` and ``high`` describe the training targets; each is a number or K numbers. The
    output layer learns standardised targets, so that usual learning rates work for any unit; a fixed layer converts its
    output to the unit of the targets. ``loss`` is "mse", "mae" or "huber", of standardised errors, or "bins", the
    cross-entropy over ``bins`` ranges of each number (see ``NumberBins``).
    """

    kind = "regression"
    primary = KINDS[kind].primary.name
    higher_is_better = KINDS[kind].primary.higher_is_better
    by_pixel = False
    losses: Mapping[str, Callable[..., Tensor]] = {"mse": F.mse_loss, "mae": F.l1_loss, "huber": F.huber_loss}
    balanced = False

    def __init__(
        self,
        mean: float | Sequence[float] = 0.0,
        deviation: float | Sequence[float] = 1.0,
        low: float | Sequence[float] = -1.0,
        high: float | Sequence[float] = 1.0,
        loss: str = "mse",
        bins: int = 20,
        head: LinearHead | None = None,
    ) -> None:
        check_parameters("task", locals())
        self.head = head or LinearHead()
        if self.head.init == "class_means":
            raise ConfigError("head.init=class_means: task=regression has no classes; use head.init=default.")
        self.mean = torch.tensor(mean, dtype=torch.float64)  # () or (K,)
        self.deviation = torch.tensor(deviation, dtype=torch.float64)
        self.deviation = torch.where(self.deviation > 0, self.deviation, 1.0)
        self.loss_name = loss
        self.numbers = self.width = max(1, self.mean.numel())
        self.edges: Tensor | None = None  # (K, bins + 1)
        if loss == "bins":
            first, last = (torch.tensor(end, dtype=torch.float64).reshape(-1) for end in (low, high))
            self.edges = bin_edges(first.expand(self.numbers), last.expand(self.numbers), bins)
            self.width = self.numbers * bins

    @classmethod
    def settings_of(cls, data: Any) -> Mapping[str, Any]:
        """Return mean, deviation and range of the training targets."""
        targets = data.train.targets
        found = {
            "mean": targets.mean(axis=0),
            "deviation": targets.std(axis=0),
            "low": targets.min(axis=0),
            "high": targets.max(axis=0),
        }
        return {name: value.tolist() if len(value) > 1 else float(value[0]) for name, value in found.items()}

    @property
    def linear(self) -> bool:
        """Return whether a linear head gives the numbers themselves: it does not with bins."""
        return self.edges is None

    def make_head(self, feature_dim: int, seed: int) -> nn.Module:
        """Return new output layers, from features (N, D) to numbers (N, K); with bins, columns of logits follow."""
        layers = self.head.make(feature_dim, self.width, seed)
        if self.edges is not None:
            return NumberBins(layers, self.edges.float())
        return Rescaled(layers, self.mean.float(), self.deviation.float())

    def soft(self, targets: Tensor) -> Tensor:
        """Return the numbers (N, K) as float32."""
        return targets.to(torch.float32)

    def loss(self, outputs: Tensor, targets: Tensor, training: bool = False) -> Tensor:
        """Return the mean loss of standardised errors or, with bins, the mean cross-entropy in nats."""
        outputs = at_least_single(outputs)
        if self.edges is not None and outputs.shape[1] > self.numbers:
            logits = outputs[:, self.numbers :].unflatten(1, (self.numbers, -1))
            return bin_loss(logits, targets, self.edges)
        error = (outputs - targets.to(outputs)) / self.deviation.to(outputs)
        return self.losses.get(self.loss_name, F.mse_loss)(error, torch.zeros_like(error))

    def tally(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return numbers and targets, (N, 2 K)."""
        outputs = at_least_single(outputs)[:, : self.numbers]
        return torch.cat([outputs, targets.to(outputs)], dim=1)

    def primary_of(self, tallies: Tensor) -> float:
        """Return R², averaged over the targets that vary, from the tallies (N, 2 K)."""
        values, targets = tallies.cpu().double().numpy().reshape(len(tallies), 2, self.numbers).swapaxes(0, 1)
        return mean_r_squared(targets, values)

    def score(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Return loss and R², computed in float64."""
        outputs, targets = outputs.detach().cpu().double(), targets.cpu().double()
        return {"loss": float(self.loss(outputs, targets)), self.primary: self.primary_of(self.tally(outputs, targets))}

    def mean_over_views(self, outputs: Tensor) -> Tensor:
        """Return the mean (N, ...) over V views of outputs (V, N, ...)."""
        return at_least_single(outputs).mean(dim=0)

    def spread_over_views(self, outputs: Tensor) -> Tensor:
        """Return the variance over views of the standardised numbers, averaged over images and numbers."""
        numbers = at_least_single(outputs)[:, :, : self.numbers]
        return (numbers / self.deviation.to(numbers)).var(dim=0, correction=0).mean()

    def start_head(self, head: nn.Module, features: Features) -> None:
        """Do nothing, as no ``head.init`` of this task needs features."""

    def make_neighbours(
        self, values: Tensor, targets: Tensor, neighbours: int, temperature: float
    ) -> NearestNeighbours:
        """Return a head that gives the mean of the nearest training images' numbers, weighted by similarity."""
        return NeighbourMean(values, targets, self.numbers, neighbours, temperature)

    def regress_on(self, targets: Tensor) -> Tensor:
        """Return the numbers, float64 (N, K)."""
        return targets.double()

    def best_scale(self, outputs: Matrix, targets: Tensor) -> float:
        """Return 1, as outputs are in the unit of the targets."""
        return 1.0

    def weights_of(self, targets: Tensor) -> Tensor | None:
        """Return None, as all weights are equal."""
        return None

    def fit_probe(self, train: Features, validation: Features, strengths: Sequence[float] | None = None) -> Probe:
        """Return a ridge regression on features, with the L2 strength that is best on validation."""
        return fit_ridge(train, validation, self, strengths or STRENGTHS)
