"""Hold the predictions of several outputs; write them as one CSV file, read them and score each output."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from headstart.errors import DataError
from headstart.kinds.kind import Kind, Predictions, PredictionTable, digest
from headstart.targets.several import SEPARATOR

FIXED = ("number", "id")  # the columns before those of the outputs
WITHOUT_NUMBER = ("classification",)  # kinds whose own files do not number their rows


@dataclass(frozen=True)
class SeveralPredictions:
    """The predictions of each output for N images, in the order of the file."""

    ids: Sequence[str]
    parts: Mapping[str, Predictions]
    primary: str

    @property
    def per_image(self) -> NDArray[Any]:
        """Return the scores of the primary output, (N,)."""
        return self.parts[self.primary].per_image

    @property
    def images(self) -> str:
        """Return a digest of ids and targets, equal for two runs tested on the same images in the same order."""
        return digest([text for name, part in self.parts.items() for text in (name, part.images)], np.empty(0))

    def text(self) -> str:
        """Return the CSV file: the number of the row from 0, id, and the columns of each output.

        Columns begin with the name of the output, as in species/prediction.
        """
        columns: list[list[str]] = [[FIXED[0], *map(str, range(len(self.ids)))], [FIXED[1], *self.ids]]
        for name, part in self.parts.items():
            header, *rows = csv.reader(io.StringIO(part.text(), newline=""))
            first = header.index(FIXED[1]) + 1
            columns += [
                [f"{name}{SEPARATOR}{title}", *cells] for title, *cells in list(zip(header, *rows, strict=True))[first:]
            ]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(zip(*columns, strict=True))
        return text.getvalue()


@dataclass(frozen=True)
class SeveralScores:
    """Scores of every output on test."""

    numbers: Mapping[str, float]
    """Finite scores, by output and name, as in box/mae."""
    texts: Sequence[tuple[str, str]]
    """Names and texts of scores, as in ("box MAE", "0.12")."""

    @classmethod
    def of(
        cls,
        kinds: Mapping[str, Kind],
        test: Mapping[str, Predictions],
        validation: Mapping[str, Predictions],
        primary: str,
    ) -> SeveralScores:
        """Return the metric and the further scores of each output.

        The metric of the output ``primary`` has no text, as reports show it elsewhere.
        """
        numbers: dict[str, float] = {}
        texts: list[tuple[str, str]] = []
        for name, kind in kinds.items():
            each = kind.per_image(test[name], kind.primary.name)
            own = float(each.mean()) if each is not None else np.nan
            found = kind.further(test[name], validation.get(name))
            if np.isfinite(own):
                numbers[f"{name}{SEPARATOR}{kind.primary.name}"] = own
                texts += [(f"{name} {kind.primary.axis()}", kind.primary.number(own))] if name != primary else []
            numbers |= {f"{name}{SEPARATOR}{score}": value for score, value in found.numbers.items()}
            known = (kind.primary.words.casefold(), kind.primary.axis().casefold())
            texts += [(f"{name} {title}", text) for title, text in found.measures() if title.casefold() not in known]
        return cls(numbers, texts)

    def measures(self) -> Iterator[tuple[str, str]]:
        """Yield the name and the text of each score in a report on one run."""
        yield from self.texts


@dataclass(frozen=True)
class _PartTable:
    """The columns of one output as a file of its own."""

    file: IO[bytes]
    header: Sequence[str]
    lines: int


def parse_several(table: PredictionTable, name: str, kinds: Mapping[str, Kind], primary: str) -> SeveralPredictions:
    """Return the predictions in a file, called ``name`` in messages; the kind of each output parses its columns."""
    import pandas as pd

    header = list(table.header)
    places = {
        part: [place for place, title in enumerate(header) if title.startswith(f"{part}{SEPARATOR}")] for part in kinds
    }
    if tuple(header[:2]) != FIXED or sum(map(len, places.values())) != len(header) - 2 or not all(places.values()):
        raise DataError(f"{name} does not have the columns {', '.join(FIXED)} and those of {', '.join(kinds)}")
    cells = pd.read_csv(
        table.file, header=0, names=list(range(len(header))), dtype=str, keep_default_na=False, engine="c"
    )
    if cells[0].tolist() != [str(number) for number in range(len(cells))]:
        raise DataError(f"{name} does not number its rows from 0: some are missing, or in another order")
    parts = {}
    for part, kind in kinds.items():
        lead = [1] if kind.name in WITHOUT_NUMBER else [0, 1]
        titles = [*(header[place] for place in lead), *(header[p].partition(SEPARATOR)[2] for p in places[part])]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(titles)
        cells[[*lead, *places[part]]].to_csv(text, header=False, index=False, lineterminator="\n")
        own = _PartTable(io.BytesIO(text.getvalue().encode()), titles, len(cells))
        parts[part] = kind.parse(own, f"{name} (output '{part}')")
    return SeveralPredictions(cells[1].tolist(), parts, primary)
