"""Predict a number for each pixel, such as depth: a dense head in the unit of the targets, squared error, R²."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.errors import ConfigError
from headstart.kinds import KINDS
from headstart.precision import at_least_single
from headstart.settings.leaf_table import check_parameters
from headstart.solvers.blocks import Matrix
from headstart.solvers.features import Features
from headstart.solvers.pixel_errors import error_tallies, r_squared_of
from headstart.solvers.probe import OnRow, Probe, ignore
from headstart.solvers.ridge import STRENGTHS
from headstart.targets.number_images import statistics_of
from headstart.tasks.dense_heads import dense_head
from headstart.tasks.heads import LinearHead, Rescaled
from headstart.tasks.pixel_probe import RIDGE, fit_pixels


class DenseRegression:
    """A number for each pixel; a pixel with NaN in the targets has no number.

    Outputs are (N, 1, S, S); targets are (N, S, S). ``mean`` and ``deviation`` are those of the training pixels. The
    output layer learns standardised numbers, which a fixed layer converts to the unit of the targets. ``loss`` is
    "mse", "mae" or "huber", of standardised errors.
    """

    kind = "dense_regression"
    primary = KINDS[kind].primary.name
    higher_is_better = KINDS[kind].primary.higher_is_better
    by_pixel = linear = True
    balanced = False
    width = 1
    losses: Mapping[str, Callable[..., Tensor]] = {"mse": F.mse_loss, "mae": F.l1_loss, "huber": F.huber_loss}

    def __init__(
        self, mean: float = 0.0, deviation: float = 1.0, loss: str = "mse", head: LinearHead | None = None
    ) -> None:
        check_parameters("task", locals())
        if loss not in self.losses:
            raise ConfigError(f"task.loss={loss}: task=dense_regression has {', '.join(self.losses)}.")
        self.head: LinearHead = dense_head(head, self.kind)
        self.mean = torch.tensor(mean, dtype=torch.float64)
        self.deviation = torch.tensor(deviation or 1.0, dtype=torch.float64)
        self.loss_name = loss

    @classmethod
    def settings_of(cls, data: Any) -> Mapping[str, Any]:
        """Return mean and deviation of the training pixels."""
        found = statistics_of(data.train.targets)
        return {name: found[name] for name in ("mean", "deviation")}

    def make_head(self, feature_dim: int, seed: int) -> nn.Module:
        """Return new output layers, from rows of maps (N, D) to numbers (N, 1, S, S); only the seed determines them."""
        return Rescaled(self.head.make(feature_dim, self.width, seed), self.mean.float(), self.deviation.float())

    def soft(self, targets: Tensor) -> Tensor:
        """Return the numbers as float32; NaN stays, so a pixel mixed with NaN has no number."""
        return targets.to(torch.float32)

    def has_target(self, targets: Tensor) -> Tensor:
        """Return which pixels have a number, boolean of the shape of ``targets``."""
        return ~targets.isnan()

    def loss(self, outputs: Tensor, targets: Tensor, training: bool = False) -> Tensor:
        """Return the mean loss of standardised errors over the pixels with a number; 0 if there is none."""
        known = self.has_target(targets)
        error = (at_least_single(outputs)[:, 0] - targets)[known] / self.deviation.to(outputs.device)
        error = error.to(torch.promote_types(outputs.dtype, torch.float32))
        loss = self.losses[self.loss_name](error, torch.zeros_like(error), reduction="sum")
        return loss / known.sum().clamp(min=1)

    def tally(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the tally of each image, (N, 5), of standardised numbers; see ``pixel_errors``."""
        known = self.has_target(targets)
        mean, deviation = self.mean.to(outputs.device), self.deviation.to(outputs.device)
        true, found = (
            torch.where(known, (numbers.double() - mean) / deviation, 0.0).flatten(1)
            for numbers in (targets, outputs[:, 0])
        )
        error = found - true
        terms = [known.flatten(1).double(), true, true**2, error**2, error.abs()]
        return torch.stack([term.sum(dim=1) for term in terms], dim=1)

    def primary_of(self, tallies: Tensor) -> float:
        """Return R² over all pixels, from the tallies (N, 5)."""
        return r_squared_of(tallies.cpu().numpy())

    def score(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Return loss and R² of numbers, computed in float64."""
        outputs, targets = outputs.detach().cpu().double(), targets.cpu().double()
        return {"loss": float(self.loss(outputs, targets)), self.primary: self.primary_of(self.tally(outputs, targets))}

    def kept(self, outputs: Tensor) -> Tensor:
        """Return the numbers to keep until the end of a run, float32 (N, S, S)."""
        return outputs[:, 0].float()

    def score_kept(self, kept: Tensor, targets: Any) -> dict[str, float]:
        """Return R² of kept numbers (N, S, S), against targets that are read by index."""
        return {self.primary: r_squared_of(error_tallies(kept.numpy(), targets))}

    def start_head(self, head: nn.Module, features: Features) -> None:
        """Do nothing, as no ``head.init`` of this task needs features."""

    def regress_on(self, targets: Tensor) -> Tensor:
        """Return the numbers of P pixels, (P,), as float64 (P, 1)."""
        return targets.double()[:, None]

    def best_scale(self, outputs: Matrix, targets: Tensor) -> float:
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
        on_row: OnRow = ignore,
        loss: str = RIDGE,
        head: nn.Module | None = None,
    ) -> Probe:
        """Return a ridge regression on joined maps, with the L2 strength that is best on validation.

        ``head`` is used to compute outputs; its weights change. None makes a new one.
        """
        head = head or self.make_head(train.values.shape[1], 0).to(train.values.device)
        return fit_pixels(self, head, train, validation, strengths or STRENGTHS, on_row, loss)
