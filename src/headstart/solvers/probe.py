"""Choose the L2 strength of a linear model on fixed features by validation."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

log = logging.getLogger(__name__)
OnRow = Callable[[int, dict[str, float]], None]


class Aim(Protocol):
    """The part of a task that solved heads need; outputs are (N, K)."""

    width: int  # K
    primary: str  # the name of the primary metric
    higher_is_better: bool  # whether a higher value of it is better

    def regress_on(self, targets: Tensor) -> Tensor:
        """Return the targets of a least-squares fit, float64 (N, K)."""

    def best_scale(self, outputs: Tensor, targets: Tensor) -> float:
        """Return the factor for least-squares outputs that gives the lowest loss and changes no prediction."""

    def weights_of(self, targets: Tensor) -> Tensor | None:
        """Return the weight of each image in a solved fit, (N,) with mean 1; None if all weights are equal.

        Where an image has several labels, it is (N, K), the weight of each label.
        """

    def score(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Return "loss" and the primary metric by its name, computed in float64."""


@dataclass(frozen=True)
class Probe:
    """A linear map on unscaled features, which includes their standardisation."""

    weight: Tensor  # float64 (K, D)
    bias: Tensor  # float64 (K,)
    number: int  # which strength, counted from the strongest
    scores: dict[str, float]  # train/... and validation/..., and l2
    end: str = ""  # as ``end_of`` returns it
    scale: float = 1.0  # the factor that is folded into weight and bias


def ignore(number: int, row: dict[str, float]) -> None:
    """Do nothing with a row of scores."""


def scored(aim: Aim, **splits: tuple[Tensor, Tensor]) -> dict[str, float]:
    """Return the scores of (outputs, targets) of each split, named "SPLIT/NAME"."""
    return {f"{split}/{name}": value for split, of in splits.items() for name, value in aim.score(*of).items()}


def rank(row: dict[str, float], aim: Aim) -> tuple[float, float]:
    """Return a sort key that is largest for the best row: the primary metric on validation, then the loss.

    A loss that is not a number is the worst.
    """
    value, loss = row[f"validation/{aim.primary}"], row["validation/loss"]
    return value if aim.higher_is_better else -value, -math.inf if math.isnan(loss) else -loss


def end_of(rows: Sequence[dict[str, float]], best: int, aim: Aim) -> str:
    """Return "strong" or "weak" if the best L2 strength is the strongest (first) or weakest one tried, else "".

    It is also "" if another strength has an equal primary metric on validation, as further strengths promise nothing.
    """
    values = [row[f"validation/{aim.primary}"] * (1 if aim.higher_is_better else -1) for row in rows]
    others = values[:best] + values[best + 1 :]
    if not others or values[best] <= max(others):
        return ""
    return "strong" if best == 0 else "weak" if best == len(rows) - 1 else ""


def warn_of_end(end: str, strength: float) -> None:
    """Log a warning, unless ``end`` is empty."""
    if end:
        log.warning("The best L2 strength, %g, is the %sest one tried: add %ser ones.", strength, end, end)
