"""A class for each pixel; the primary metric is the mean intersection over union."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headstart.kinds.kind import Predictions, PredictionTable, ScoreColumn
from headstart.kinds.metric import Metric

if TYPE_CHECKING:  # what works on arrays is loaded where it is needed
    from numpy.typing import NDArray
    from torch import Tensor

    from headstart.kinds.label_predictions import LabelPredictions, OverlapScores
    from headstart.report_table import ReportTable
    from headstart.targets.label_images import LabelImageRules

MEAN_IOU = Metric("mean_iou", True, "%", (0, 1), "mean IoU", "mean IoUs")
BEYOND = {
    "pixel_accuracy": ScoreColumn("pixel acc. (%)", True),
    "mean_class_accuracy": ScoreColumn("mean class acc. (%)", True),
}


class SegmentationKind:
    """A label image an image."""

    name = "segmentation"
    primary = MEAN_IOU
    earlier: Mapping[str, Metric] = {}
    right_or_wrong = False
    loss_unit = "nats"
    shares: Collection[str] = frozenset({"mean_iou", *BEYOND})
    beyond: Mapping[str, ScoreColumn] = BEYOND
    beyond_note = "Mean class acc.: mean over classes of the share of their pixels that is right."

    @property
    def targets(self) -> LabelImageRules:
        """Return how targets are described and split."""
        from headstart.targets.label_images import LabelImageRules

        return LabelImageRules()

    def predicted(self, ids: Sequence[str], targets: Any, outputs: Tensor, classes: Sequence[str]) -> LabelPredictions:
        """Return the predictions of a network from its label images, integers (N, H, W)."""
        from headstart.kinds.label_predictions import LabelPredictions
        from headstart.solvers.overlaps import tallies_of

        return LabelPredictions(ids, tallies_of(outputs.numpy(), targets, len(classes)), classes)

    def parse(self, table: PredictionTable, name: str) -> LabelPredictions:
        """Read the rows of a file called ``name``. Raises DataError for damaged ones, or ValueError."""
        from headstart.kinds.label_predictions import parse_labels

        return parse_labels(table, name)

    def further(self, test: Predictions, validation: Predictions | None) -> OverlapScores:
        """Return pixel accuracy, mean class accuracy and the IoU of each class on test; validation adds nothing."""
        from headstart.kinds.label_predictions import LabelPredictions, overlap_scores

        assert isinstance(test, LabelPredictions)
        return overlap_scores(test)

    def per_image(self, test: Predictions, metric: str) -> NDArray[Any] | None:
        """Return the parts of the images in the mean IoU, (N,); None for another metric."""
        return test.per_image if metric == MEAN_IOU.name else None

    def details(self, test: Predictions, validation: Predictions | None) -> Sequence[ReportTable]:
        """Return the classes and the images with the lowest IoU."""
        from headstart.kinds.label_predictions import LabelPredictions, class_iou_table, worst_images_table

        assert isinstance(test, LabelPredictions)
        return class_iou_table(test), worst_images_table(test)
