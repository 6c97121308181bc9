"""Learning curves above test accuracies: the one picture of a report."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from headstart.files import write_atomically
from headstart.reports.curves import Band, Curves, read_curves
from headstart.reports.figures.canvas import (
    DARK,
    SMALL,
    epochs_axis,
    grid,
    legend_height,
    legend_width,
    line_options,
    new_figure,
    place,
    styled,
    text_width,
)
from headstart.reports.panels import Panel
from headstart.reports.style import REFERENCE, Style, styles_of

ACROSS = 4
"""Panels side by side; more go below."""
COLUMN, UPPER, LOWER = 4.9, 3.3, 2.0
"""Width of a panel, height of its curves and least height of its bars, in inches."""
PLOT = 2.4
"""Inches that are left to a plot beside the longest name, at least."""
BAR = 0.22
TITLE = "validation (training dotted)"


@styled
def draw(panels: Sequence[Panel], path: Path, curves: Sequence[Mapping[str, Curves]] | None = None) -> None:
    """Write the overview to a PNG file; ``curves`` are those of each panel where they are read already."""
    content = io.BytesIO()
    draw_overview(panels, curves).savefig(content, format="png", dpi=120, pil_kwargs={"compress_level": 3})
    write_atomically(path, content.getvalue())


@styled
def draw_overview(panels: Sequence[Panel], curves: Sequence[Mapping[str, Curves]] | None = None) -> Figure:
    """A column a panel: curves above (validation as in the legend, training dotted), test accuracy below."""
    curves = [read_curves(panel) for panel in panels] if curves is None else curves
    names = [[panel.label(group) for group in (*panel.groups, *panel.references)] for panel in panels]
    styles = styles_of([panel.label(group) for panel in panels for group in panel.groups])
    lower = max(LOWER, BAR * max(map(len, names)))
    height = UPPER + lower + 1.45
    down = math.ceil(len(panels) / ACROSS)
    across = math.ceil(len(panels) / down)
    left = max(0.55, text_width([name for of in names for name in of]) + 0.15)
    column = max(COLUMN, left + PLOT)
    figure = new_figure(column * across + 0.2, height * down)
    for number, (panel, of_panel) in enumerate(zip(panels, curves, strict=True)):
        x = 0.1 + column * (number % across) + left
        y = height * (down - 1 - number // across)
        width = column - left - 0.2
        above = place(figure, x, y + lower + 1.1, width, UPPER)
        draw_curves(above, panel, of_panel, styles)
        draw_bars(place(figure, x, y + 0.5, width, lower), panel, styles)
    return figure


def draw_curves(axes: Axes, panel: Panel, curves: Mapping[str, Curves], styles: Mapping[str, Style]) -> None:
    """Accuracy over epochs, with a band of one deviation over runs; fits without epochs as level lines."""
    for number, group in enumerate(panel.groups):
        label = panel.label(group)
        style = styles[label]
        if "validation/accuracy" not in curves[label]:
            if math.isfinite(group.validation.mean):
                level(axes, group.validation.mean, label, (number + 0.5) / len(panel.groups), **line_options(style))
            continue
        band = curves[label]["validation/accuracy"]
        draw_band(axes, band, style, 100, label, number)
        if "train/accuracy" in curves[label]:
            train = curves[label]["train/accuracy"]
            axes.plot(train.epochs, 100 * train.mean, color=style.colour, lw=1, ls=":")
    for group in panel.references:
        if math.isfinite(group.validation.mean):
            level(axes, group.validation.mean, panel.label(group), 0.5, color=REFERENCE, ls="--", lw=1.4)
    axes.set(title=panel.title, xlabel="epoch", ylabel="accuracy (%)", ylim=(0, 102))
    epochs = [int(band.epochs[-1]) for of in curves.values() for band in of.values()]
    epochs_axis(axes, max(epochs, default=1))
    grid(axes)
    top = legend_top(axes)
    axes.legend(
        loc="upper right", bbox_to_anchor=(1, top), bbox_transform=axes.get_yaxis_transform(), borderaxespad=0.6,
        title=TITLE, frameon=True, framealpha=0.75, edgecolor="none",
    )  # fmt: skip


def legend_top(axes: Axes) -> float:
    """Where on the scale the legend begins: where it covers no curve, or else no validation curve."""
    lines = axes.get_lines()
    labels = [str(line.get_label()) for line in lines if not str(line.get_label()).startswith("_")]
    share = (max(text_width([TITLE]), legend_width(labels)) + 0.15) / (axes.bbox.width / axes.figure.dpi)
    needed = 102 * (legend_height([TITLE, *labels]) + 0.15) / UPPER
    top, room = free_height([np.asarray(line.get_ydata(), float) for line in lines], share)
    if room < needed:
        solid = [np.asarray(line.get_ydata(), float) for line in lines if line.get_linestyle() != ":"]
        top, _ = free_height(solid, share)
    return top


def free_height(lines: Sequence[NDArray[np.float64]], share: float) -> tuple[float, float]:
    """Top and height of the widest stretch of 0 to 102 that no line (E,) enters in the last share of its epochs."""
    later = [line[int((1 - min(share, 1)) * (len(line) - 1)) :] for line in lines]
    spans = sorted((float(part.min()), float(part.max())) for part in later if len(part))
    best, end, top = 0.0, 0.0, 102.0
    for low, high in [*spans, (102.0, 102.0)]:
        if low - end > best:
            best, top = low - end, low
        end = max(end, high)
    return top, best


def level(axes: Axes, accuracy: float, label: str, at: float, **options: Any) -> None:
    """A line across for what has no epochs, its marker at a share of the width."""
    axes.plot(
        [0, at, 1], [100 * accuracy] * 3, transform=axes.get_yaxis_transform(), markevery=[1],
        label=f"{label} (no epochs)", **options,
    )  # fmt: skip


def draw_band(axes: Axes, band: Band, style: Style, factor: float, label: str, number: int) -> None:
    """A mean with a band of one deviation; some ten markers, shifted by the number of the line."""
    mean, deviation = factor * band.mean, factor * band.deviation
    step = max(1, math.ceil(len(mean) / 8))
    axes.plot(band.epochs, mean, label=label, markevery=(number % step, step), **line_options(style))
    if deviation.any():
        axes.fill_between(band.epochs, mean - deviation, mean + deviation, color=style.colour, alpha=0.18, lw=0)


def draw_bars(axes: Axes, panel: Panel, styles: Mapping[str, Style]) -> None:
    """Test accuracy, best on top, with one deviation over runs."""
    groups = sorted([*panel.groups, *panel.references], key=lambda group: group.test.mean)
    for position, group in enumerate(groups):
        colour = REFERENCE if group.reference else styles[panel.label(group)].colour
        mean, deviation = 100 * group.test.mean, 100 * float(np.nan_to_num(group.test.deviation))
        axes.barh(position, mean, color=colour, height=0.62)
        if deviation:
            axes.errorbar(mean, position, xerr=deviation, color=DARK, capsize=3, lw=1)
        text = f"{mean:.1f}" + (f" ± {deviation:.1f}" if group.test.count > 1 else "")
        axes.text(mean + deviation + 1, position, text, va="center", fontsize=SMALL)
    axes.set_yticks(range(len(groups)), [panel.label(group) for group in groups])
    axes.set(xlabel="test accuracy (%)", xlim=(0, 118), ylim=(-0.6, len(groups) - 0.4))
    axes.set_xticks(range(0, 101, 20))
