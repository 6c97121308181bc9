"""Define what objectives of pretraining are scored by: their targets come from the images, not from the data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from headstart.kinds.classification import ClassKind
from headstart.kinds.dense_regression import DenseNumberKind

if TYPE_CHECKING:  # methods import array libraries, so that loading a kind is fast
    from numpy.typing import NDArray
    from torch import Tensor

    from headstart.kinds.class_predictions import ClassPredictions
    from headstart.kinds.pixel_predictions import PixelPredictions
    from headstart.targets.rules import AnyLabels

POSITIONS = ("above left", "above", "above right", "left", "right", "below left", "below", "below right")
"""The positions of a patch around another, in the order of their numbers."""
VIEWS = ("another image", "other view")
"""The answers to which image is nearest to a view."""


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
    answers: Sequence[str] = POSITIONS

    @property
    def targets(self) -> AnyLabels:
        """Return the rules of data sets, whose labels only divide the images evenly."""
        return _any_labels()

    def predicted(
        self, ids: Sequence[str], targets: NDArray[Any], outputs: Tensor, classes: Sequence[str]
    ) -> ClassPredictions:
        """Return predictions from rows (N, K + 1) of K logits and the number of the true answer."""
        return super().predicted(ids, outputs[:, -1].long().numpy(), outputs[:, :-1], self.answers)


class ViewKind(PatchKind):
    """Whether the view nearest to a view is the other one of its image; the primary metric is accuracy."""

    name = "contrast"
    answers = VIEWS
