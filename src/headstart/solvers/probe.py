"""A linear model on fixed features, and the choice of its L2 strength on validation."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

log = logging.getLogger(__name__)


class Judge(Protocol):
    """How a task scores outputs."""

    def score(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Return the loss and the primary metric."""

    @property
    def primary(self) -> str:
        """The name of the primary metric."""

    @property
    def higher_is_better(self) -> bool:
        """Whether a higher value of it is better."""


@dataclass(frozen=True)
class Probe:
    """A linear map on the features as they come, standardisation folded in."""

    weight: Tensor  # float64 (K, D)
    bias: Tensor  # float64 (K,)
    number: int  # which strength, counted from the strongest
    scores: dict[str, float]  # train/... and validation/..., and l2
    end: str = ""  # as ``end_of`` has it
    scale: float = 1.0  # the factor that is folded into weight and bias


def rank(row: dict[str, float], primary: str = "accuracy", higher: bool = True) -> tuple[float, float]:
    """Return what is largest for the best row: the primary metric on validation, then the loss.

    A loss that is not a number is the worst.
    """
    value, loss = row[f"validation/{primary}"], row["validation/loss"]
    return value if higher else -value, -math.inf if math.isnan(loss) else -loss


def end_of(rows: Sequence[dict[str, float]], best: int, primary: str = "accuracy", higher: bool = True) -> str:
    """Return "strong" or "weak" where the best L2 strength is that end of those tried (strongest first), else "".

    The answer is "" unless the primary metric on validation is better than that of every other row: where others are as
    good, strengths beyond the end promise nothing.
    """
    values = [row[f"validation/{primary}"] * (1 if higher else -1) for row in rows]
    others = values[:best] + values[best + 1 :]
    if not others or values[best] <= max(others):
        return ""
    return "strong" if best == 0 else "weak" if best == len(rows) - 1 else ""


def warn_of_end(end: str, strength: float) -> None:
    """Log a warning where there is such an ``end_of``."""
    if end:
        log.warning("The best L2 strength, %g, is the %sest one tried: add %ser ones.", strength, end, end)
