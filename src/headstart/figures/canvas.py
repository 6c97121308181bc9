"""Share between figures: sizes in inches, text measurement, and files that repeat byte for byte.

Figures use matplotlib without pyplot. Axes are placed by hand, by the width of the texts beside them, because a layout
engine draws everything twice.
"""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from matplotlib.ticker import MaxNLocator

from headstart.figures.dark import darkened
from headstart.figures.fonts import families
from headstart.figures.style import Style
from headstart.files import write_atomically
from headstart.kinds import Metric

WIDTH = 6.8
"""The width of a page's text, in inches."""
SMALL = 8.0
"""The size of labels and legends, in points."""
GRID = "#E5E5E5"
DARK = "#333333"
POINT = 1 / 72
"""One point in inches."""
SIZES = {"*": 7.5, "P": 5.5, "X": 5.5}
"""The sizes, in points, of markers that look smaller than others."""

styled = mpl.rc_context(
    {
        "font.family": families(),
        "font.size": 8.5,
        "axes.titlesize": 9,
        "axes.labelsize": 8.5,
        "xtick.labelsize": SMALL,
        "ytick.labelsize": SMALL,
        "legend.fontsize": SMALL,
        "legend.title_fontsize": SMALL,
        "legend.frameon": False,
        "legend.handlelength": 3,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "text.parse_math": False,  # users' names may contain a $
        "pdf.fonttype": 42,  # TrueType, as journals require
    }
)
"""Decorator for functions that make or save a figure."""


LEAST = 1.0
"""The smallest width of a plot beside very long names, in inches."""


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure; width and height in inches."""
    return Figure(figsize=(width, height))


def place(figure: Figure, left: float, bottom: float, width: float, height: float, **options: Any) -> Axes:
    """Add axes at a place given in inches from the lower left corner."""
    whole, high = figure.get_size_inches()
    return figure.add_axes((left / whole, bottom / high, width / whole, height / high), **options)


def text_width(texts: Sequence[str], size: float = SMALL) -> float:
    """Return the width of the widest text, in inches; 0 for no texts."""
    font = FontProperties(family=families(), size=size)
    widths = [text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] for text in texts]
    return max(widths, default=0.0) * POINT


def legend_width(labels: Sequence[str]) -> float:
    """Return the width of a legend of lines with these labels, in inches."""
    return text_width(labels) + 4.6 * SMALL * POINT


def legend_height(labels: Sequence[str]) -> float:
    """Return the height of a legend in one column, in inches."""
    return len(labels) * 1.52 * SMALL * POINT


def add_legend(figure: Figure, handles: Sequence[Artist], left: float, top: float, **options: Any) -> None:
    """Add a legend; its upper left corner is given in inches from the figure's lower left corner."""
    width, height = figure.get_size_inches()
    anchor = (left / width, top / height)
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=anchor, borderaxespad=0, borderpad=0, **options)


def line_options(style: Style) -> dict[str, Any]:
    """Return a style as matplotlib's options of a line; a white rim separates the markers."""
    return {
        "color": style.colour,
        "marker": style.marker,
        "markersize": SIZES.get(style.marker, 4.5),
        "linestyle": style.linestyle,
        "markeredgecolor": "white",
        "markeredgewidth": 0.4,
        "linewidth": 1.4,
    }


def grid(axes: Axes, axis: str = "y") -> None:
    """Draw thin lines behind everything."""
    axes.grid(axis=axis, color=GRID, linewidth=0.7)  # type: ignore[arg-type]


def epochs_axis(axes: Axes, last: int) -> None:
    """Set an epoch axis with whole numbers from 1."""
    margin = min(0.9, 0.04 * last)
    axes.set_xlim(1 - margin, last + margin)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))


def log_ticks(low: float, high: float) -> list[float]:
    """Return up to six round numbers from low to high: powers of ten, and numbers between if those are too few.

    There are at least two if high is at least 1.9 times low.
    """
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)):
        ticks = [factor * 10.0**exponent for exponent in exponents for factor in factors]
        ticks = [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]
        if len(ticks) >= 3:
            break
    step = math.ceil(len(ticks) / 6)
    return ticks[::step]


def percent_limits(values: Sequence[float], fraction: float = 0.06) -> tuple[float, float]:
    """Return axis limits for numbers in percent: a margin around them, within 0 and 100."""
    finite = np.asarray(values)[np.isfinite(values)]
    low, high = float(finite.min()), float(finite.max())
    margin = max(fraction * (high - low), 1.0)
    return max(low - margin, 0.0), min(high + margin, 100.0)


def metric_limits(values: Sequence[float], metric: Metric, share: float = 0.06) -> tuple[float, float]:
    """Return axis limits for drawn values of a metric: a margin around them, within the metric's bounds."""
    if metric.is_share:
        return percent_limits(values, share)
    finite = np.asarray(values)[np.isfinite(values)]
    low, high = float(finite.min()), float(finite.max())
    margin = share * (high - low) or 0.1 * abs(high) or 1.0
    return metric.clipped(low - margin), metric.clipped(high + margin)


@styled
def save(figure: Figure, directory: Path, name: str) -> tuple[Path, Path]:
    """Write name.png (150 dpi), its dark form name-dark.png, and name.pdf (vectors, TrueType text), each atomically.

    The same figure gives the same bytes: no dates are written.
    """
    png, pdf = directory / f"{name}.png", directory / f"{name}.pdf"
    # low compression: high compression takes most of the time, and line drawings stay small anyway
    options: dict[str, Any] = {"format": "png", "dpi": 150, "pil_kwargs": {"compress_level": 3}}
    write_atomically(png, _rendered(figure, **options))
    write_atomically(pdf, _rendered(figure, format="pdf", metadata={"CreationDate": None}))
    with darkened(figure):
        write_atomically(dark_file(png), _rendered(figure, **options))
    return png, pdf


def dark_file(png: Path) -> Path:
    """Return the path of a figure's form for dark pages: name-dark.png."""
    return png.with_name(f"{png.stem}-dark.png")


def _rendered(figure: Figure, **options: Any) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, **options)
    return content.getvalue()
