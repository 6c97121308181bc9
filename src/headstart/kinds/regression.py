"""One number an image; the primary metric is the mean absolute error, in the unit of the target."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headstart.kinds.kind import Predictions, PredictionTable, ScoreColumn
from headstart.kinds.metric import Metric

if TYPE_CHECKING:  # what works on arrays is loaded where it is needed
    from numpy.typing import NDArray
    from torch import Tensor

    from headstart.kinds.number_predictions import NumberPredictions, NumberScores
    from headstart.kinds.targets import NumberTargets
    from headstart.report_table import ReportTable

BEYOND = {
    "rmse": ScoreColumn("RMSE"),
    "r2": ScoreColumn("R²"),
    "median_absolute_error": ScoreColumn("median abs. error"),
}
MAE = Metric("mae", False, "", (0, math.inf), "mean absolute error", "mean absolute errors")


class NumberKind:
    """One number an image."""

    name = "regression"
    primary = MAE
    right_or_wrong = False
    loss_unit = ""
    shares: Collection[str] = frozenset()
    beyond: Mapping[str, ScoreColumn] = BEYOND
    beyond_note = "RMSE: root of the mean squared error. R²: share of the targets' variance that is explained."

    @property
    def targets(self) -> NumberTargets:
        """Return how targets are read, checked and split."""
        from headstart.kinds.targets import NumberTargets

        return NumberTargets()

    def predicted(
        self, ids: Sequence[str], targets: NDArray[Any], outputs: Tensor, classes: Sequence[str]
    ) -> NumberPredictions:
        """Return the predictions of a network from its outputs in the unit of the target, (N,) or (N, 1)."""
        import numpy as np

        from headstart.kinds.number_predictions import NumberPredictions

        values = outputs.double().reshape(len(outputs)).numpy()
        return NumberPredictions(ids, np.asarray(targets, dtype=np.float64), values)

    def parse(self, table: PredictionTable, name: str) -> NumberPredictions:
        """Read the rows of a file called ``name``. Raises DataError for damaged ones, or ValueError."""
        from headstart.kinds.number_predictions import parse_numbers

        return parse_numbers(table, name)

    def further(self, test: Predictions, validation: Predictions | None) -> NumberScores:
        """Return RMSE, R² and the median absolute error on test; validation adds nothing."""
        from headstart.kinds.number_predictions import NumberPredictions, number_scores

        assert isinstance(test, NumberPredictions)
        return number_scores(test)

    def details(self, test: Predictions) -> Sequence[ReportTable]:
        """Return the images with the largest errors."""
        from headstart.kinds.number_predictions import NumberPredictions, errors_table

        assert isinstance(test, NumberPredictions)
        return (errors_table(test),)
