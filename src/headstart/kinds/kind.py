"""What can be known of a kind of target without a network: its metric, its predictions, its scores."""

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
    """A CSV file of predictions at its beginning, opened and looked through by ``records``."""

    @property
    def file(self) -> IO[bytes]:
        """Return the file."""

    @property
    def header(self) -> Sequence[str]:
        """Return the names of its columns."""

    @property
    def lines(self) -> int:
        """Return the number of lines below the header, which is at least the number of rows."""


class Predictions(Protocol):
    """What a network predicted for N images, in the order of the file."""

    @property
    def ids(self) -> Sequence[str]:
        """Return the names of the images."""

    @property
    def per_image(self) -> NDArray[Any]:
        """Return the score of each image, (N,); their mean is the primary metric.

        For a metric that is no mean over images, it is the metric plus the influence of the image on it.
        """

    @property
    def images(self) -> str:
        """Return a digest of ids and targets, equal for two runs tested on the same images in the same order."""

    def text(self) -> str:
        """Return the CSV file."""


class FurtherScores(Protocol):
    """Scores from predictions, besides the primary metric."""

    @property
    def numbers(self) -> Mapping[str, float]:
        """Return the scores by name."""

    def measures(self) -> Iterable[tuple[str, str]]:
        """Return names and texts, for a report on one run."""


@dataclass(frozen=True)
class ScoreColumn:
    """How a table shows a further score."""

    heading: str
    share: bool = False
    """Whether it is a fraction of 1 that is shown in percent."""
    decimals: int | None = None
    """How many are shown of what is no share; None for three significant digits."""

    def text(self, value: float) -> str:
        """Return a value as a cell shows it; "–" for NaN."""
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
    """What was the primary metric in earlier runs, by name."""
    right_or_wrong: bool
    """Whether the score of an image is 1 (right) or 0."""
    loss_unit: str
    """Unit of the loss; empty for none."""
    shares: Collection[str]
    """Metrics in run.json that are fractions of 1, without their split."""
    beyond: Mapping[str, ScoreColumn]
    """Further scores that tables show, by name."""
    beyond_note: str
    """What a reader has to know of them."""

    @property
    def targets(self) -> TargetRules:
        """Return how targets are read, checked and split."""

    def predicted(
        self, ids: Sequence[str], targets: NDArray[Any], outputs: Tensor, classes: Sequence[str]
    ) -> Predictions:
        """Return the predictions of a network from its outputs, (N, ...)."""

    def parse(self, table: PredictionTable, name: str) -> Predictions:
        """Read the rows of a file called ``name``. Raises DataError for damaged ones, or ValueError."""

    def per_image(self, test: Predictions, metric: str) -> NDArray[Any] | None:
        """Return the scores of the images, (N,), whose mean is this metric; None if it has no such scores."""

    def further(self, test: Predictions, validation: Predictions | None) -> FurtherScores:
        """Return the scores on test besides the primary metric. Raises DataError when there is nothing to score."""

    def details(self, test: Predictions, validation: Predictions | None) -> Sequence[ReportTable]:
        """Return the tables that a report on one run shows."""


def digest(names: Sequence[str], targets: NDArray[Any]) -> str:
    """Return a digest of names and targets."""
    return hashlib.sha256("\0".join(names).encode() + targets.tobytes()).hexdigest()
