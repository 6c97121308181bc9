"""Define what objectives of pretraining are scored by: their targets come from the images, not from the data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headstart.kinds.classification import ClassKind
from headstart.kinds.dense_regression import DenseNumberKind
from headstart.kinds.kind import FurtherScores, Predictions, ScoreColumn

if TYPE_CHECKING:  # methods import array libraries, so that loading a kind is fast
    from numpy.typing import NDArray
    from torch import Tensor

    from headstart.kinds.class_predictions import ClassPredictions
    from headstart.kinds.pixel_predictions import PixelPredictions
    from headstart.report_table import ReportTable
    from headstart.targets.rules import AnyLabels

POSITIONS = ("above left", "above", "above right", "left", "right", "below left", "below", "below right")
"""The positions of a patch around another, in the order of their numbers."""
VIEWS = ("another image", "other view")
"""The answers to which image is nearest to a view."""


class PatchKind(ClassKind):
    """The position of one patch of an image around another; the primary metric is accuracy."""

    name = "relative_patches"
    answers: Sequence[str] = POSITIONS

    @property
    def targets(self) -> AnyLabels:
        """Return the rules of data sets, whose labels only divide the images evenly."""
        from headstart.targets.rules import AnyLabels

        return AnyLabels()

    def predicted(
        self, ids: Sequence[str], targets: NDArray[Any], outputs: Tensor, classes: Sequence[str]
    ) -> ClassPredictions:
        """Return predictions from rows (N, K + 1) of K logits and the number of the true answer."""
        return super().predicted(ids, outputs[:, -1].long().numpy(), outputs[:, :-1], self.answers)

    def details(self, test: Predictions, validation: Predictions | None) -> Sequence[ReportTable]:
        """Return the tables of answers and confusions, if scores by answer exist; no list of mistaken images."""
        return super().details(test, validation)[:2] if self.beyond else ()


class ViewKind(PatchKind):
    """Whether the view nearest to a view is the other one of its image; the primary metric is accuracy."""

    name = "contrast"
    answers = VIEWS
    beyond: Mapping[str, ScoreColumn] = {}  # one answer is right for all images, so scores by answer mean nothing
    beyond_note = ""

    def further(self, test: Predictions, validation: Predictions | None) -> FurtherScores:  # type: ignore[override]
        """Return no score."""
        from headstart.kinds.several_predictions import SeveralScores

        return SeveralScores({}, [])


class ReconstructionKind(DenseNumberKind):
    """The pixels of an image, reconstructed; the primary metric is R² over all pixels that count."""

    name = "autoencoder"
    beyond_note = "MAE: mean absolute error. RMSE: root of the mean squared error. Both in deviations of a pixel."
    targets = PatchKind.targets  # type: ignore[assignment]

    def predicted(self, ids: Sequence[str], targets: Any, outputs: Tensor, classes: Sequence[str]) -> PixelPredictions:
        """Return the sums over the pixels of each image, as ``Autoencoder.tally`` makes them, (N, 5)."""
        from headstart.kinds.pixel_predictions import PixelPredictions

        return PixelPredictions(ids, outputs.double().numpy())
