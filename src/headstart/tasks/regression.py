"""Predict one number per image: a head in the unit of the targets, squared error, mean absolute error."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.errors import ConfigError
from headstart.kinds import KINDS
from headstart.precision import at_least_single
from headstart.settings.leaf_table import check_parameters
from headstart.solvers.features import Features
from headstart.solvers.probe import Probe
from headstart.solvers.ridge import STRENGTHS, fit_ridge
from headstart.tasks.heads import LinearHead, Rescaled
from headstart.tasks.task import OnRow


class Regression:
    """One number per image.

    ``mean`` and ``deviation`` are those of the training targets. The output layer learns standardised targets, so that
    usual learning rates work for any unit; a fixed layer converts its output to the unit of the targets. ``loss`` is
    "mse", "mae" or "huber", of standardised errors.
    """

    kind = "regression"
    primary = KINDS[kind].primary.name
    higher_is_better = KINDS[kind].primary.higher_is_better
    by_pixel = False
    losses: Mapping[str, Callable[..., Tensor]] = {"mse": F.mse_loss, "mae": F.l1_loss, "huber": F.huber_loss}
    balanced = False
    width = 1

    def __init__(
        self, mean: float = 0.0, deviation: float = 1.0, loss: str = "mse", head: LinearHead | None = None
    ) -> None:
        check_parameters("task", locals())
        self.head = head or LinearHead()
        if self.head.init == "class_means":
            raise ConfigError("head.init=class_means: task=regression has no classes; use head.init=default.")
        self.mean, self.deviation, self.loss_name = float(mean), float(deviation) or 1.0, loss

    @classmethod
    def settings_of(cls, data: Any) -> Mapping[str, Any]:
        """Return the mean and deviation of the training targets."""
        return {"mean": float(data.train.targets.mean()), "deviation": float(data.train.targets.std())}

    def make_head(self, feature_dim: int, seed: int) -> nn.Module:
        """Return new output layers, from features (N, D) to numbers (N, 1)."""
        return Rescaled(self.head.make(feature_dim, self.width, seed), self.mean, self.deviation)

    def soft(self, targets: Tensor) -> Tensor:
        """Return the numbers (N,) as (N, 1)."""
        return targets.to(torch.float32)[:, None]

    def loss(self, outputs: Tensor, targets: Tensor, training: bool = False) -> Tensor:
        """Return the mean loss of errors, divided by the deviation of the training targets."""
        outputs = at_least_single(outputs)
        error = (outputs - self._column(targets).to(outputs)) / self.deviation
        return self.losses[self.loss_name](error, torch.zeros_like(error))

    def tally(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return absolute errors, (N, 1), in the unit of the targets."""
        outputs = at_least_single(outputs)
        return (outputs - self._column(targets).to(outputs)).abs().to(torch.float32)

    def primary_of(self, tallies: Tensor) -> float:
        """Return the mean absolute error, from the tallies (N, 1)."""
        return float(tallies.double().sum()) / len(tallies)

    def score(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Return loss and mean absolute error in float64."""
        outputs, targets = outputs.detach().cpu().double(), self._column(targets.cpu()).double()
        return {"loss": float(self.loss(outputs, targets)), self.primary: float((outputs - targets).abs().mean())}

    def mean_over_views(self, outputs: Tensor) -> Tensor:
        """Return the mean (N, 1) of outputs (V, N, 1)."""
        return at_least_single(outputs).mean(dim=0)

    def spread_over_views(self, outputs: Tensor) -> Tensor:
        """Return the mean variance of standardised outputs over the views."""
        return (at_least_single(outputs) / self.deviation).var(dim=0, correction=0).mean()

    def start_head(self, head: nn.Module, features: Features) -> None:
        """Do nothing, as no start of this head needs features."""

    def regress_on(self, targets: Tensor) -> Tensor:
        """Return the numbers, float64 (N, 1)."""
        return targets.double()[:, None]

    def best_scale(self, outputs: Tensor, targets: Tensor) -> float:
        """Return 1, as outputs are in the unit of the targets."""
        return 1.0

    def weights_of(self, targets: Tensor) -> Tensor | None:
        """Return None, as all weights are equal."""
        return None

    def fit_probe(
        self,
        train: Features,
        validation: Features,
        strengths: Sequence[float] | None = None,
        on_row: OnRow = lambda number, row: None,
    ) -> Probe:
        """Return a ridge regression on features, with the L2 strength that is best on validation."""
        return fit_ridge(train, validation, self, strengths or STRENGTHS, on_row=on_row)

    @staticmethod
    def _column(targets: Tensor) -> Tensor:
        """Return targets (N,) or (N, 1) as (N, 1)."""
        return targets[:, None] if targets.ndim == 1 else targets
