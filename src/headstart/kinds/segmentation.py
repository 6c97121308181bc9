"""Define segmentation: a class for each pixel; the primary metric is the mean intersection over union."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headstart.kinds.kind import Predictions, PredictionTable, ScoreColumn
from headstart.kinds.metric import Metric

if TYPE_CHECKING:  # methods import array libraries, so that loading a kind is fast
    from numpy.typing import NDArray
    from torch import Tensor

    from headstart.kinds.label_predictions import LabelImagePredictions, OverlapScores
    from headstart.report_table import ReportTable
    from headstart.targets.label_images import LabelImageRules

MEAN_IOU = Metric("mean_iou", True, "%", (0, 1), "mean IoU", "mean IoUs", "mean IoU")
BEYOND = {
    "pixel_accuracy": ScoreColumn("pixel acc. (%)", True),
    "mean_class_accuracy": ScoreColumn("mean class acc. (%)", True),
}


class SegmentationKind:
    """A class for each pixel of an image."""

    name = "segmentation"
    primary = MEAN_IOU
    earlier: Mapping[str, Metric] = {}
    right_or_wrong = False
    loss_unit = "nats"
    shares: Collection[str] = frozenset({"mean_iou", *BEYOND})
    beyond: Mapping[str, ScoreColumn] = BEYOND
    beyond_note = "Mean class acc.: mean over classes of the recall of their pixels."

    @property
    def targets(self) -> LabelImageRules:
        """Return the rules that describe and split targets."""
        from headstart.targets.label_images import LabelImageRules

        return LabelImageRules()

    def predicted(
        self, ids: Sequence[str], targets: Any, outputs: Tensor, classes: Sequence[str]
    ) -> LabelImagePredictions:
        """Return the predictions of a network from its outputs, label images of integers (N, H, W)."""
        from headstart.kinds.label_predictions import LabelImagePredictions
        from headstart.solvers.overlaps import tallies_of

        return LabelImagePredictions(ids, tallies_of(outputs.numpy(), targets, len(classes)), classes)

    def parse(self, table: PredictionTable, name: str) -> LabelImagePredictions:
        """Return the predictions in a file, called ``name`` in messages. Raises DataError or ValueError."""
        from headstart.kinds.label_predictions import parse_labels

        return parse_labels(table, name)

    def further(self, test: Predictions, validation: Predictions | None) -> OverlapScores:
        """Return pixel accuracy, mean class accuracy and the IoU of each class on test; validation adds nothing."""
        from headstart.kinds.label_predictions import LabelImagePredictions, overlap_scores

        assert isinstance(test, LabelImagePredictions)
        return overlap_scores(test)

    def per_image(self, test: Predictions, metric: str) -> NDArray[Any] | None:
        """Return the scores of the images, (N,), whose mean is the mean IoU; None for another metric."""
        return test.per_image if metric == MEAN_IOU.name else None

    def details(self, test: Predictions, validation: Predictions | None) -> Sequence[ReportTable]:
        """Return the tables of classes and of images, the lowest IoU first."""
        from headstart.kinds.label_predictions import LabelImagePredictions, class_iou_table, worst_images_table

        assert isinstance(test, LabelImagePredictions)
        return class_iou_table(test), worst_images_table(test)
