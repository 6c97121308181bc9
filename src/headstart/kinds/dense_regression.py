"""Define dense regression: a number for each pixel, such as depth; the primary metric is R² over all pixels."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headstart.kinds.kind import Predictions, PredictionTable, ScoreColumn
from headstart.kinds.metric import Metric
from headstart.kinds.regression import R2

if TYPE_CHECKING:  # methods import array libraries, so that loading a kind is fast
    from numpy.typing import NDArray
    from torch import Tensor

    from headstart.kinds.pixel_predictions import PixelErrors, PixelPredictions
    from headstart.report_table import ReportTable
    from headstart.targets.number_images import NumberImageRules

BEYOND = {"mae": ScoreColumn("MAE"), "rmse": ScoreColumn("RMSE")}


class DenseNumberKind:
    """A number for each pixel of an image."""

    name = "dense_regression"
    primary = R2
    earlier: Mapping[str, Metric] = {}
    right_or_wrong = False
    loss_unit = ""
    shares: Collection[str] = frozenset()
    beyond: Mapping[str, ScoreColumn] = BEYOND
    beyond_note = "MAE: mean absolute error. RMSE: root of the mean squared error. Both in the unit of the targets."

    @property
    def targets(self) -> NumberImageRules:
        """Return the rules that describe and split targets."""
        from headstart.targets.number_images import NumberImageRules

        return NumberImageRules()

    def predicted(self, ids: Sequence[str], targets: Any, outputs: Tensor, classes: Sequence[str]) -> PixelPredictions:
        """Return the predictions of a network from its outputs, numbers (N, H, W)."""
        from headstart.kinds.pixel_predictions import PixelPredictions
        from headstart.solvers.pixel_errors import error_tallies

        return PixelPredictions(ids, error_tallies(outputs.numpy(), targets))

    def parse(self, table: PredictionTable, name: str) -> PixelPredictions:
        """Return the predictions in a file, called ``name`` in messages. Raises DataError or ValueError."""
        from headstart.kinds.pixel_predictions import parse_pixels

        return parse_pixels(table, name)

    def further(self, test: Predictions, validation: Predictions | None) -> PixelErrors:
        """Return MAE and RMSE on test; validation adds nothing."""
        from headstart.kinds.pixel_predictions import PixelErrors, PixelPredictions

        assert isinstance(test, PixelPredictions)
        return PixelErrors.of(test)

    def per_image(self, test: Predictions, metric: str) -> NDArray[Any] | None:
        """Return the scores of the images, (N,), whose mean is R²; None for another metric."""
        return test.per_image if metric == R2.name else None

    def details(self, test: Predictions, validation: Predictions | None) -> Sequence[ReportTable]:
        """Return the table of images, the largest errors first."""
        from headstart.kinds.pixel_predictions import PixelPredictions, pixel_errors_table

        assert isinstance(test, PixelPredictions)
        return (pixel_errors_table(test),)
