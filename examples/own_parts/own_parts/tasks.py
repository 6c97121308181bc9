"""A task: regression on counts, compared by the share of counts that are exactly right."""

from torch import Tensor

from headstart.tasks import Regression
from own_parts.kinds import CountKind


class Counting(Regression):
    """Head and loss are those of regression; the primary metric is that of ``CountKind``."""

    kind = CountKind.name
    primary = CountKind.primary.name
    higher_is_better = CountKind.primary.higher_is_better

    def primary_of(self, tallies: Tensor) -> float:
        """Return the share of exact counts, from predictions and targets (N, 2)."""
        values, targets = tallies.cpu().double().unbind(dim=1)
        return float((values.round() == targets).double().mean())
