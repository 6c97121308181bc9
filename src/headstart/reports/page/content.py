"""The content of a page: plain data, checked when built, without HTML.

Texts may hold any characters; the page shows them as they are. Numbers that are not finite count as missing.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from headstart.report_table import ReportTable

Number = float | None
Split = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Series:
    """One line of a chart with its band; all sequences have one length N, in the units of the chart's axes.

    ``low`` and ``high`` may both be empty: then there is no band. A missing value leaves a gap.
    """

    label: str
    """The name in the legend; it switches all series of this label on and off."""
    colour: str
    """``#rrggbb``."""
    dash: str
    """As in figures.style.Style: "solid", or lengths of line and gap such as "6px,2px". Training is always dotted."""
    x: Sequence[float]
    y: Sequence[Number]
    low: Sequence[Number] = ()
    high: Sequence[Number] = ()
    kind: Split = "validation"
    symbol: str = "circle"
    """Marker, as figures.style.Style.symbol; drawn if a line has few points."""

    def __post_init__(self) -> None:
        lengths = {len(self.x), len(self.y)}
        if self.low or self.high:
            lengths |= {len(self.low), len(self.high)}
        if len(lengths) > 1:
            raise ValueError(f"Series '{self.label}' has sequences of different lengths: {sorted(lengths)}.")


@dataclass(frozen=True)
class Chart:
    """Lines over one x axis, which may be logarithmic."""

    id: str
    title: str
    x_title: str
    y_title: str
    series: Sequence[Series]
    log_x: bool = False
    percent: bool = False
    """Whether y is in percent, so its axis stays within 0 and 100."""


@dataclass(frozen=True)
class RunCard:
    """What a reader needs to trace and repeat one run."""

    name: str
    directory: str
    repeat_command: str
    """Repeats the run from its directory; may be empty."""
    train_command: str
    """Trains a run with the same settings; may be empty."""
    config: str
    """YAML text."""
    facts: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Names as in run.json, such as test/accuracy; see ``is_share`` for those that are fractions of 1."""


@dataclass(frozen=True)
class FigureImage:
    """A drawn figure, and the names of its vector files beside the page."""

    title: str
    note: str
    png: bytes
    files: Sequence[str] = ()
    dark: bytes = b""
    """The PNG for a dark page; empty if there is none."""

    def __post_init__(self) -> None:
        for content in (self.png, *filter(None, [self.dark])):
            if not content.startswith(b"\x89PNG\r\n\x1a\n"):
                raise ValueError(f"Image '{self.title}' is not a PNG.")

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height in pixels, from the first block of a PNG (RFC 2083, section 4.1.1)."""
        width, height = struct.unpack(">II", self.png[16:24])
        return width, height


@dataclass(frozen=True)
class Page:
    """The whole page, in reading order: summary, notes, tables, charts, images, runs."""

    title: str
    summary: Sequence[str] = ()
    tables: Sequence[ReportTable] = ()
    charts: Sequence[Chart] = ()
    images: Sequence[FigureImage] = ()
    runs: Sequence[RunCard] = ()
    notes: Sequence[str] = ()
    """Notes on runs that failed, are damaged or lack something: a sentence each."""

    def __post_init__(self) -> None:
        _check_distinct("table", [table.id for table in self.tables])
        _check_distinct("chart", [chart.id for chart in self.charts])
        for table in self.tables:
            named = {run for row in table.rows for cell in row for run in cell.runs}
            unknown = sorted(run for run in named if not 0 <= run < len(self.runs))
            if unknown:
                raise ValueError(f"Table '{table.id}' names run {unknown[0]}, but there are {len(self.runs)} runs.")


def _check_distinct(what: str, ids: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise ValueError(f"Two {what}s have the id '{name}'; expected different ids.")
        seen.add(name)
