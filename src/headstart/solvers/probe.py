"""Choose the L2 strength of a linear model on fixed features by validation."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Probe:
    """A linear map on unscaled features, which includes their standardisation."""

    weight: Tensor  # float64 (K, D)
    bias: Tensor  # float64 (K,)
    number: int  # which strength, counted from the strongest
    scores: dict[str, float]  # train/... and validation/..., and l2
    end: str = ""  # as ``end_of`` returns it
    scale: float = 1.0  # the factor that is folded into weight and bias


def rank(row: dict[str, float], primary: str = "accuracy", higher: bool = True) -> tuple[float, float]:
    """Return a sort key that is largest for the best row: the primary metric on validation, then the loss.

    A loss that is not a number is the worst.
    """
    value, loss = row[f"validation/{primary}"], row["validation/loss"]
    return value if higher else -value, -math.inf if math.isnan(loss) else -loss


def end_of(rows: Sequence[dict[str, float]], best: int, primary: str = "accuracy", higher: bool = True) -> str:
    """Return "strong" or "weak" if the best L2 strength is the strongest (first) or weakest one tried, else "".

    It is also "" if another strength has an equal primary metric on validation, as further strengths promise nothing.
    """
    values = [row[f"validation/{primary}"] * (1 if higher else -1) for row in rows]
    others = values[:best] + values[best + 1 :]
    if not others or values[best] <= max(others):
        return ""
    return "strong" if best == 0 else "weak" if best == len(rows) - 1 else ""


def warn_of_end(end: str, strength: float) -> None:
    """Log a warning, unless ``end`` is empty."""
    if end:
        log.warning("The best L2 strength, %g, is the %sest one tried: add %ser ones.", strength, end, end)
