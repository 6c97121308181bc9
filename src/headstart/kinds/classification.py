"""Define classification: one class per image; the primary metric is the accuracy."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headstart.kinds.kind import Predictions, PredictionTable, ScoreColumn
from headstart.kinds.metric import Metric

if TYPE_CHECKING:  # methods import array libraries, so that loading a kind is fast
    from numpy.typing import NDArray
    from torch import Tensor

    from headstart.kinds.class_predictions import ClassPredictions
    from headstart.kinds.class_scores import Scores
    from headstart.report_table import ReportTable
    from headstart.targets.rules import ClassTargets

ACCURACY = Metric("accuracy", True, "%", (0, 1), many="accuracies")


class ClassKind:
    """One class per image."""

    name = "classification"
    primary = ACCURACY
    earlier: Mapping[str, Metric] = {}
    right_or_wrong = True
    loss_unit = "nats"
    shares: Collection[str] = frozenset({"accuracy", "balanced_accuracy"})
    beyond: Mapping[str, ScoreColumn] = {
        "balanced_accuracy": ScoreColumn("balanced acc. (%)", True),
        "macro_f1": ScoreColumn("macro F1 (%)", True),
        "nll": ScoreColumn("NLL (nats)", decimals=3),
        "scaled_nll": ScoreColumn("scaled NLL", decimals=3),
        "brier": ScoreColumn("Brier", decimals=3),
        "scaled_brier": ScoreColumn("scaled Brier", decimals=3),
        "ece": ScoreColumn("ECE (%)", True),
        "scaled_ece": ScoreColumn("scaled ECE (%)", True),
    }
    beyond_note = (
        "NLL: negative log-likelihood. ECE: expected calibration error in 15 bins. Scaled: after temperature scaling on"
        " validation."
    )

    @property
    def targets(self) -> ClassTargets:
        """Return the rules that read, check and split targets."""
        from headstart.targets.rules import ClassTargets

        return ClassTargets()

    def predicted(
        self, ids: Sequence[str], targets: NDArray[Any], outputs: Tensor, classes: Sequence[str]
    ) -> ClassPredictions:
        """Return the predictions of a network from its logits, (N, classes)."""
        from headstart.kinds.class_predictions import ClassPredictions

        shares = outputs.double().softmax(dim=1).numpy()
        return ClassPredictions(ids, targets, outputs.argmax(dim=1).numpy(), shares, classes)

    def parse(self, table: PredictionTable, name: str) -> ClassPredictions:
        """Return the predictions in a file, called ``name`` in messages. Raises DataError or ValueError."""
        from headstart.kinds.class_predictions import parse_classes

        return parse_classes(table, name)

    def per_image(self, test: Predictions, metric: str) -> NDArray[Any] | None:
        """Return whether each image is predicted right, (N,); None for another metric than accuracy."""
        return test.per_image if metric == ACCURACY.name else None

    def further(self, test: Predictions, validation: Predictions | None) -> Scores:
        """Return balanced accuracy, F1, and calibration on test, before and after temperature scaling."""
        from headstart.kinds.class_predictions import ClassPredictions
        from headstart.kinds.class_scores import scores_on_test

        assert isinstance(test, ClassPredictions)
        assert validation is None or isinstance(validation, ClassPredictions)
        return scores_on_test(test, validation)

    def details(self, test: Predictions, validation: Predictions | None) -> Sequence[ReportTable]:
        """Return the tables of classes, confusions and mistakes."""
        from headstart.kinds.class_predictions import ClassPredictions
        from headstart.kinds.class_tables import classes_table, confusions_table, mistakes_table

        assert isinstance(test, ClassPredictions)
        return classes_table(test), confusions_table(test), mistakes_table(test)
