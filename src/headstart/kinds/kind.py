"""What can be known of a kind of target without a network: its metric, its predictions, its scores."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Protocol

from headstart.kinds.metric import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

ScoredCell = tuple[str, float | str | None]
"""What a reader sees, and what it is sorted by."""


class PredictionTable(Protocol):
    """A CSV file of predictions at its beginning, opened and looked through by ``records``."""

    @property
    def file(self) -> IO[bytes]:
        """The file."""

    @property
    def header(self) -> Sequence[str]:
        """The names of its columns."""

    @property
    def lines(self) -> int:
        """Lines below the header: rows are no more."""


class Predictions(Protocol):
    """What a network predicted for N images, in the order of the file."""

    @property
    def ids(self) -> Sequence[str]:
        """The names of the images."""

    @property
    def per_image(self) -> NDArray[Any]:
        """The score of each image, (N,); their mean is the primary metric."""

    @property
    def images(self) -> str:
        """A digest of ids and targets: equal for two runs that were tested on the same images in the same order."""

    def text(self) -> str:
        """Return the CSV file."""


class FurtherScores(Protocol):
    """Scores from predictions, besides the primary metric."""

    @property
    def numbers(self) -> Mapping[str, float]:
        """The scores by name."""

    def measures(self) -> Iterable[tuple[str, str]]:
        """Return names and texts, for a report on one run."""


@dataclass(frozen=True)
class ScoreColumn:
    """How a table shows a further score."""

    heading: str
    share: bool = False
    """Whether it is a fraction of 1 that is shown in percent."""


@dataclass(frozen=True)
class RunSection:
    """A table about one run: ``short`` rows are for the terminal, ``shown`` for Markdown, all for the CSV file."""

    name: str
    title: str
    note: str
    header: tuple[str, ...]
    rows: Sequence[Sequence[ScoredCell]]
    right: tuple[bool, ...]
    """Which columns are numbers."""
    records: Sequence[Mapping[str, Any]] = ()
    """The rows of a CSV file; shares are fractions of 1."""
    short: int = 5
    shown: int = 100

    @property
    def texts(self) -> list[list[str]]:
        """The rows as a reader sees them."""
        return [[text for text, _ in row] for row in self.rows]


class Kind(Protocol):
    """A kind of target."""

    name: str
    primary: Metric
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

    def parse(self, table: PredictionTable, name: str) -> Predictions:
        """Read the rows of a file called ``name``. Raises DataError for damaged ones, or ValueError."""

    def further(self, test: Predictions, validation: Predictions | None) -> FurtherScores:
        """Return the scores on test besides the primary metric. Raises DataError when there is nothing to score."""

    def details(self, test: Predictions) -> Sequence[RunSection]:
        """Return the tables that a report on one run shows."""


def digest(names: Sequence[str], targets: NDArray[Any]) -> str:
    """Return a digest of names and targets."""
    return hashlib.sha256("\0".join(names).encode() + targets.tobytes()).hexdigest()
