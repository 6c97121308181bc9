"""A kind of target: what reports need to know of it. Loads no torch; arrays only where they are needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart.kinds.metric import Metric
from headstart.kinds.number_predictions import NumberPredictions
from headstart.kinds.regression import NumberKind


@dataclass(frozen=True)
class CountPredictions(NumberPredictions):
    """Predicted numbers; an image is right if the nearest whole number is its count."""

    @property
    def per_image(self) -> Any:
        """Return 1.0 for each image that is right, 0.0 for the others."""
        return (np.rint(self.values) == self.targets).all(axis=1).astype(np.float64)


class CountKind(NumberKind):
    """One count an image; its name is the path of the class, by which reports find it."""

    name = "own_parts.kinds.CountKind"
    primary = Metric("exact", True, "%", (0, 1), "share of exact counts", "shares of exact counts")
    earlier = {}
    right_or_wrong = True
    shares = frozenset({"exact"})

    def predicted(self, ids: Sequence[str], targets: Any, outputs: Any, classes: Sequence[str]) -> CountPredictions:
        """Return the predictions of a network from its outputs."""
        return _counts(super().predicted(ids, targets, outputs, classes))

    def parse(self, table: Any, name: str) -> CountPredictions:
        """Read predictions.csv."""
        return _counts(super().parse(table, name))

    def per_image(self, test: Any, metric: str) -> Any:
        """Return the scores of the images, whose mean is the metric of this name."""
        return test.per_image if metric == self.primary.name else None


def _counts(numbers: NumberPredictions) -> CountPredictions:
    return CountPredictions(numbers.ids, numbers.targets, numbers.values, numbers.names)
