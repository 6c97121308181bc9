"""Define several outputs per image, each with a kind of its own; the metric of one output is primary."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from headstart.kinds.kind import Kind, Predictions, PredictionTable, ScoreColumn
from headstart.kinds.metric import Metric
from headstart.settings.parts import SEVERAL, PartSettings

if TYPE_CHECKING:  # methods import array libraries, so that loading a kind is fast
    from numpy.typing import NDArray
    from torch import Tensor

    from headstart.kinds.several_predictions import SeveralPredictions, SeveralScores
    from headstart.report_table import ReportTable
    from headstart.targets.several import SeveralTargets


class SeveralKind:
    """Named outputs per image; ``primary_part`` names the output whose metric is primary.

    ``settings`` has the columns of each output. It is None for a kind from run.json, which reads no list.
    """

    name = SEVERAL
    earlier: Mapping[str, Metric] = {}
    loss_unit = ""

    def __init__(
        self, parts: Mapping[str, Kind], primary_part: str, settings: Mapping[str, PartSettings] | None = None
    ) -> None:
        self.parts, self.primary_part, self.settings = dict(parts), primary_part, settings
        self.decisive = self.parts[primary_part]
        own = self.decisive.primary
        self.primary = replace(
            own,
            long=f"{own.title} of {primary_part}",
            many=f"{own.plural} of {primary_part}",
            short=f"{primary_part} {own.words}",
        )
        self.right_or_wrong = self.decisive.right_or_wrong
        self.shares: Collection[str] = frozenset().union(*(kind.shares for kind in self.parts.values()))
        self.beyond: Mapping[str, ScoreColumn] = {
            f"{name}/{score}": replace(column, heading=f"{name} {column.heading}")
            for name, kind in self.parts.items()
            for score, column in ({kind.primary.name: _column(kind.primary)} | dict(kind.beyond)).items()
            if (name, score) != (primary_part, own.name)
        }
        notes = dict.fromkeys(kind.beyond_note for kind in self.parts.values())
        self.beyond_note = " ".join(notes)

    @property
    def title(self) -> str:
        """Return the names and kinds of the outputs, and the primary one. Only runs with equal titles are compared."""
        parts = ", ".join(f"{name}: {kind.name}" for name, kind in sorted(self.parts.items()))
        return f"{self.name} ({parts}; {self.primary_part} decides)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SeveralKind) and other.title == self.title

    def __hash__(self) -> int:
        return hash(self.title)

    @property
    def targets(self) -> SeveralTargets:
        """Return the rules that read, check and split targets."""
        from headstart.targets.several import SeveralTargets

        assert self.settings is not None
        rules = {name: kind.targets for name, kind in self.parts.items()}
        return SeveralTargets(rules, self.settings, self.primary_part)

    def predicted(
        self, ids: Sequence[str], targets: NDArray[Any], outputs: Tensor, classes: Sequence[str]
    ) -> SeveralPredictions:
        """Return the predictions from targets (N, columns) and network outputs (N, K), both in the order of the parts.

        ``classes`` are the class names of all parts, as in ``SeveralTargets``. Further columns of outputs are not read.
        """
        from headstart.kinds.several_predictions import SeveralPredictions
        from headstart.targets.several import names_of

        made, start = {}, 0
        for name, kind in self.parts.items():
            names = names_of(name, classes)
            own = self.targets.part(name, targets, classes)
            made[name] = kind.predicted(ids, own, outputs[:, start : start + len(names)], names)
            start += len(names)
        return SeveralPredictions(ids, made, self.primary_part)

    def parse(self, table: PredictionTable, name: str) -> SeveralPredictions:
        """Return the predictions in a file, called ``name`` in messages. Raises DataError or ValueError."""
        from headstart.kinds.several_predictions import parse_several

        return parse_several(table, name, self.parts, self.primary_part)

    def per_image(self, test: Predictions, metric: str) -> NDArray[Any] | None:
        """Return the scores of the images, (N,), for a metric of the primary output."""
        return self.decisive.per_image(_parts(test)[self.primary_part], metric)

    def further(self, test: Predictions, validation: Predictions | None) -> SeveralScores:
        """Return the scores of every output on test, named after the output: box/mae."""
        from headstart.kinds.several_predictions import SeveralScores

        held_out = {} if validation is None else _parts(validation)
        return SeveralScores.of(self.parts, _parts(test), held_out, self.primary_part)

    def details(self, test: Predictions, validation: Predictions | None) -> Sequence[ReportTable]:
        """Return the tables of every output."""
        held_out = {} if validation is None else _parts(validation)
        return [
            replace(table, id=f"{name}-{table.id}", title=f"{name}: {table.title}")
            for name, kind in self.parts.items()
            for table in kind.details(_parts(test)[name], held_out.get(name))
        ]


def _column(metric: Metric) -> ScoreColumn:
    return ScoreColumn(f"{metric.words} (%)" if metric.is_share else metric.axis(), metric.is_share)


def _parts(found: Predictions) -> Mapping[str, Predictions]:
    from headstart.kinds.several_predictions import SeveralPredictions

    assert isinstance(found, SeveralPredictions)
    return found.parts
