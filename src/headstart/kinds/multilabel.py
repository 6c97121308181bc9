"""Define multilabel classification: several labels per image; the primary metric is the mean average precision."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headstart.kinds.kind import Predictions, PredictionTable, ScoreColumn
from headstart.kinds.metric import Metric

if TYPE_CHECKING:  # methods import array libraries, so that loading a kind is fast
    from numpy.typing import NDArray
    from torch import Tensor

    from headstart.kinds.label_set_predictions import LabelSetPredictions, LabelSetScores
    from headstart.report_table import ReportTable
    from headstart.targets.label_sets import LabelSets

MAP = Metric("map", True, "%", (0, 1), "mean average precision", "mean average precisions", "mAP")


class LabelSetKind:
    """Several labels per image, or none."""

    name = "multilabel"
    primary = MAP
    earlier: Mapping[str, Metric] = {}
    right_or_wrong = False
    loss_unit = "nats"
    shares: Collection[str] = frozenset({"map"})
    beyond: Mapping[str, ScoreColumn] = {
        "macro_f1": ScoreColumn("macro F1 (%)", True),
        "micro_f1": ScoreColumn("micro F1 (%)", True),
    }
    beyond_note = "F1 uses a threshold for each label, the one that is best on validation."

    @property
    def targets(self) -> LabelSets:
        """Return the rules that read, check and split targets."""
        from headstart.targets.label_sets import LabelSets

        return LabelSets()

    def predicted(
        self, ids: Sequence[str], targets: NDArray[Any], outputs: Tensor, classes: Sequence[str]
    ) -> LabelSetPredictions:
        """Return the predictions of a network from targets and logits, (N, K)."""
        from headstart.kinds.label_set_predictions import LabelSetPredictions

        return LabelSetPredictions(ids, targets > 0, outputs.double().sigmoid().numpy(), classes)

    def parse(self, table: PredictionTable, name: str) -> LabelSetPredictions:
        """Return the predictions in a file, called ``name`` in messages. Raises DataError or ValueError."""
        from headstart.kinds.label_set_predictions import parse_label_sets

        return parse_label_sets(table, name)

    def per_image(self, test: Predictions, metric: str) -> NDArray[Any] | None:
        """Return the scores of the images, (N,), whose mean is the mean average precision; None for another metric."""
        return test.per_image if metric == MAP.name else None

    def further(self, test: Predictions, validation: Predictions | None) -> LabelSetScores:
        """Return macro and micro F1 on test, at thresholds that are best on validation."""
        from headstart.kinds.label_set_predictions import LabelSetPredictions, LabelSetScores

        assert isinstance(test, LabelSetPredictions)
        assert validation is None or isinstance(validation, LabelSetPredictions)
        return LabelSetScores.of(test, validation)

    def details(self, test: Predictions, validation: Predictions | None) -> Sequence[ReportTable]:
        """Return the tables of labels and of images, the largest errors first."""
        from headstart.kinds.label_set_predictions import LabelSetPredictions, labels_table, worst_table

        assert isinstance(test, LabelSetPredictions)
        assert validation is None or isinstance(validation, LabelSetPredictions)
        return labels_table(test, validation), worst_table(test)
