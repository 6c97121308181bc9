"""One or several numbers an image; the primary metric is R², the share of the targets' variance that is explained."""

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
    from headstart.report_table import ReportTable
    from headstart.targets.rules import NumberTargets

BEYOND = {
    "r2": ScoreColumn("R²"),
    "mae": ScoreColumn("MAE"),
    "rmse": ScoreColumn("RMSE"),
    "median_absolute_error": ScoreColumn("median abs. error"),
}
R2 = Metric("r2", True, "", (-math.inf, 1), "R²", "values of R²", "R²")
MAE = Metric("mae", False, "", (0, math.inf), "mean absolute error", "mean absolute errors")


class NumberKind:
    """One or several numbers an image."""

    name = "regression"
    primary = R2
    earlier: Mapping[str, Metric] = {"mae": MAE}
    right_or_wrong = False
    loss_unit = ""
    shares: Collection[str] = frozenset()
    beyond: Mapping[str, ScoreColumn] = BEYOND
    beyond_note = (
        "R²: share of the targets' variance that is explained. MAE: mean absolute error. RMSE: root of the mean squared"
        " error. Errors are in the unit of the target; those of several targets are in runs.csv."
    )

    @property
    def targets(self) -> NumberTargets:
        """Return how targets are read, checked and split."""
        from headstart.targets.rules import NumberTargets

        return NumberTargets()

    def predicted(
        self, ids: Sequence[str], targets: NDArray[Any], outputs: Tensor, classes: Sequence[str]
    ) -> NumberPredictions:
        """Return the predictions from targets (N, K) and outputs, whose first K columns are in the unit of the targets.

        ``classes`` are the names of the K targets; none for one without a name.
        """
        import numpy as np

        from headstart.kinds.number_predictions import NumberPredictions

        targets = np.asarray(targets, dtype=np.float64)
        return NumberPredictions(ids, targets, outputs[:, : targets.shape[1]].double().numpy(), classes)

    def parse(self, table: PredictionTable, name: str) -> NumberPredictions:
        """Read the rows of a file called ``name``. Raises DataError for damaged ones, or ValueError."""
        from headstart.kinds.number_predictions import parse_numbers

        return parse_numbers(table, name)

    def per_image(self, test: Predictions, metric: str) -> NDArray[Any] | None:
        """Return the scores of the images (N,), whose mean is R² or, in earlier runs, the mean absolute error."""
        from headstart.kinds.number_predictions import NumberPredictions

        assert isinstance(test, NumberPredictions)
        if metric == MAE.name:
            return test.errors.mean(axis=1)
        return test.per_image if metric == R2.name else None

    def further(self, test: Predictions, validation: Predictions | None) -> NumberScores:
        """Return R², MAE, RMSE and the median absolute error of each target on test; validation adds nothing."""
        from headstart.kinds.number_predictions import NumberPredictions, NumberScores

        assert isinstance(test, NumberPredictions)
        return NumberScores.of(test)

    def details(self, test: Predictions, validation: Predictions | None) -> Sequence[ReportTable]:
        """Return the scores of each target where there are several, and the images with the largest errors."""
        from headstart.kinds.number_predictions import NumberPredictions, errors_table, targets_table

        assert isinstance(test, NumberPredictions)
        several = (targets_table(test),) if len(test.names) > 1 else ()
        return *several, errors_table(test)
