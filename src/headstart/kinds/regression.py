"""Define regression: one or several numbers per image; the primary metric is R², the explained share of variance."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headstart.kinds.kind import Predictions, PredictionTable, ScoreColumn
from headstart.kinds.metric import Metric

if TYPE_CHECKING:  # methods import array libraries, so that loading a kind is fast
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
    """One or several numbers per image."""

    name = "regression"
    primary = R2
    earlier: Mapping[str, Metric] = {"mae": MAE}
    right_or_wrong = False
    loss_unit = ""
    shares: Collection[str] = frozenset()
    beyond: Mapping[str, ScoreColumn] = BEYOND
    beyond_note = (
        "R²: explained share of the targets' variance. MAE: mean absolute error. RMSE: root of the mean squared error."
        " Errors are in the unit of the target. Scores of several targets are in runs.csv."
    )

    @property
    def targets(self) -> NumberTargets:
        """Return the rules that read, check and split targets."""
        from headstart.targets.rules import NumberTargets

        return NumberTargets()

    def predicted(
        self, ids: Sequence[str], targets: NDArray[Any], outputs: Tensor, classes: Sequence[str]
    ) -> NumberPredictions:
        """Return the predictions from targets (N, K) and outputs, whose first K columns are in the unit of the targets.

        ``classes`` are the names of the K targets; empty for a single unnamed target.
        """
        import numpy as np

        from headstart.kinds.number_predictions import NumberPredictions

        targets = np.asarray(targets, dtype=np.float64)
        return NumberPredictions(ids, targets, outputs[:, : targets.shape[1]].double().numpy(), classes)

    def parse(self, table: PredictionTable, name: str) -> NumberPredictions:
        """Return the predictions in a file, called ``name`` in messages. Raises DataError or ValueError."""
        from headstart.kinds.number_predictions import parse_numbers

        return parse_numbers(table, name)

    def per_image(self, test: Predictions, metric: str) -> NDArray[Any] | None:
        """Return the scores of the images, (N,), whose mean is R² or, for older runs, the mean absolute error."""
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
        """Return the table of targets, if there are several, and the table of images, the largest errors first."""
        from headstart.kinds.number_predictions import NumberPredictions, errors_table, targets_table

        assert isinstance(test, NumberPredictions)
        several = (targets_table(test),) if len(test.names) > 1 else ()
        return *several, errors_table(test)
