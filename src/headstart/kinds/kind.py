"""Define what a kind of target provides without a network: its metric, its predictions, its scores."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Protocol

from headstart.kinds.metric import NOTHING, Metric, significant

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from headstart.report_table import ReportTable
    from headstart.targets.rules import TargetRules


class PredictionTable(Protocol):
    """An open CSV file of predictions, at its start; ``records`` has opened it and counted its lines."""

    @property
    def file(self) -> IO[bytes]:
        """Return the file."""

    @property
    def header(self) -> Sequence[str]:
        """Return the names of the columns."""

    @property
    def lines(self) -> int:
        """Return the number of lines below the header, which is at least the number of rows."""


class Predictions(Protocol):
    """The predictions of a network for N images, in the order of the file."""

    @property
    def ids(self) -> Sequence[str]:
        """Return the names of the images."""

    @property
    def per_image(self) -> NDArray[Any]:
        """Return the score of each image, (N,); the mean of the scores is the primary metric.

        If the metric is no mean over images, a score is the metric plus the influence of the image on the metric.
        """

    @property
    def images(self) -> str:
        """Return a digest of ids and targets, equal for two runs tested on the same images in the same order."""

    def text(self) -> str:
        """Return the CSV file."""


class FurtherScores(Protocol):
    """Scores besides the primary metric, computed from predictions."""

    @property
    def numbers(self) -> Mapping[str, float]:
        """Return the scores by name."""

    def measures(self) -> Iterable[tuple[str, str]]:
        """Return the name and the text of each score in a report on one run."""


@dataclass(frozen=True)
class ScoreColumn:
    """The heading and the number format of a further score in tables."""

    heading: str
    share: bool = False
    """Whether the score is a fraction of 1, which is shown in percent."""
    decimals: int | None = None
    """Decimals of a score that is no share; None shows three significant digits."""

    def text(self, value: float) -> str:
        """Return the text of a value in a cell; "–" for NaN."""
        if math.isnan(value):
            return NOTHING
        if self.share:
            return f"{100 * value:.1f}"
        return significant(value) if self.decimals is None else f"{value:.{self.decimals}f}"


class Kind(Protocol):
    """A kind of target."""

    name: str
    primary: Metric
    earlier: Mapping[str, Metric]
    """Former primary metrics of this kind, by name: older runs have them."""
    right_or_wrong: bool
    """Whether the score of an image is 1 (right) or 0."""
    loss_unit: str
    """Unit of the loss; empty if it has none."""
    shares: Collection[str]
    """Metrics in run.json that are fractions of 1, named without the split: accuracy, not test/accuracy."""
    beyond: Mapping[str, ScoreColumn]
    """Columns of further scores in tables, by the name of the score."""
    beyond_note: str
    """A note that explains these columns."""

    @property
    def targets(self) -> TargetRules:
        """Return the rules that read, check and split targets."""

    def predicted(
        self, ids: Sequence[str], targets: NDArray[Any], outputs: Tensor, classes: Sequence[str]
    ) -> Predictions:
        """Return the predictions of a network from its outputs, (N, ...)."""

    def parse(self, table: PredictionTable, name: str) -> Predictions:
        """Return the predictions in a file, called ``name`` in messages. Raises DataError or ValueError."""

    def per_image(self, test: Predictions, metric: str) -> NDArray[Any] | None:
        """Return the scores of the images, (N,), whose mean is ``metric``; None if that metric has no such scores."""

    def further(self, test: Predictions, validation: Predictions | None) -> FurtherScores:
        """Return the scores on test besides the primary metric. Raises DataError when there is nothing to score."""

    def details(self, test: Predictions, validation: Predictions | None) -> Sequence[ReportTable]:
        """Return the tables for a report on one run."""


def digest(names: Sequence[str], targets: NDArray[Any]) -> str:
    """Return the SHA-256 digest of names and targets, as hexadecimal text."""
    return hashlib.sha256("\0".join(names).encode() + targets.tobytes()).hexdigest()
