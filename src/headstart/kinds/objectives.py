"""Define what objectives of pretraining are scored by: their targets come from the images, not from the data set."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headstart.kinds.classification import ClassKind
from headstart.kinds.dense_regression import DenseNumberKind
from headstart.kinds.kind import Predictions, PredictionTable, ScoreColumn
from headstart.kinds.metric import Metric

if TYPE_CHECKING:  # methods import array libraries, so that loading a kind is fast
    from numpy.typing import NDArray
    from torch import Tensor

    from headstart.kinds.class_predictions import ClassPredictions
    from headstart.kinds.match_predictions import MatchPredictions, NoScores
    from headstart.kinds.pixel_predictions import PixelPredictions
    from headstart.report_table import ReportTable
    from headstart.targets.rules import AnyLabels

MATCHED = Metric("matched", True, "%", (0, 1), "share of matched views", "shares of matched views")
POSITIONS = (
    "above left",
    "above",
    "above right",
    "left",
    "right",
    "below left",
    "below",
    "below right",
)
"""The positions of a patch around another, in the order of their numbers."""


def _any_labels() -> AnyLabels:
    from headstart.targets.rules import AnyLabels

    return AnyLabels()


class ReconstructionKind(DenseNumberKind):
    """The pixels of an image, reconstructed; the primary metric is R² over all pixels that count."""

    name = "autoencoder"
    beyond_note = "MAE: mean absolute error. RMSE: root of the mean squared error. Both in deviations of a pixel."

    @property
    def targets(self) -> AnyLabels:  # type: ignore[override]
        """Return the rules of data sets, whose labels only divide the images evenly."""
        return _any_labels()

    def predicted(self, ids: Sequence[str], targets: Any, outputs: Tensor, classes: Sequence[str]) -> PixelPredictions:
        """Return the sums over the pixels of each image, as ``Autoencoder.tally`` makes them, (N, 5)."""
        from headstart.kinds.pixel_predictions import PixelPredictions

        return PixelPredictions(ids, outputs.double().numpy())


class PatchKind(ClassKind):
    """The position of one patch of an image around another; the primary metric is accuracy."""

    name = "relative_patches"

    @property
    def targets(self) -> AnyLabels:
        """Return the rules of data sets, whose labels only divide the images evenly."""
        return _any_labels()

    def predicted(
        self, ids: Sequence[str], targets: NDArray[Any], outputs: Tensor, classes: Sequence[str]
    ) -> ClassPredictions:
        """Return predictions from rows (N, 9) of eight logits and the number of the true position."""
        return super().predicted(ids, outputs[:, -1].long().numpy(), outputs[:, :-1], POSITIONS)


class ViewKind:
    """Two views of each image; the primary metric is the share whose nearest view in the batch is the other one."""

    name = "contrast"
    primary = MATCHED
    earlier: Mapping[str, Metric] = {}
    right_or_wrong = True
    loss_unit = ""
    shares: Collection[str] = frozenset({"matched", "probe_accuracy"})
    beyond: Mapping[str, ScoreColumn] = {}
    beyond_note = ""

    @property
    def targets(self) -> AnyLabels:
        """Return the rules of data sets, whose labels only divide the images evenly."""
        return _any_labels()

    def predicted(self, ids: Sequence[str], targets: Any, outputs: Tensor, classes: Sequence[str]) -> MatchPredictions:
        """Return the predictions from rows (N, 1): 1 for an image whose views match, or 0."""
        from headstart.kinds.match_predictions import MatchPredictions

        return MatchPredictions(ids, outputs[:, 0].double().numpy())

    def parse(self, table: PredictionTable, name: str) -> MatchPredictions:
        """Return the predictions in a file, called ``name`` in messages. Raises DataError or ValueError."""
        from headstart.kinds.match_predictions import parse_matches

        return parse_matches(table, name)

    def per_image(self, test: Predictions, metric: str) -> NDArray[Any] | None:
        """Return whether the views of each image match, (N,); None for another metric."""
        return test.per_image if metric == MATCHED.name else None

    def further(self, test: Predictions, validation: Predictions | None) -> NoScores:
        """Return no further scores."""
        from headstart.kinds.match_predictions import NoScores

        return NoScores({})

    def details(self, test: Predictions, validation: Predictions | None) -> Sequence[ReportTable]:
        """Return no tables."""
        return ()
