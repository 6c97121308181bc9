"""Draw the overview of a report: learning curves above means on test."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from headstart.comparison.curves import Band, Curves, read_curves
from headstart.comparison.panels import Panel
from headstart.figures.canvas import (
    DARK,
    SMALL,
    add_legend,
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
from headstart.figures.style import ALIKE_FROM, REFERENCE, Style, reference_styles, styles_of

ACROSS = 4
"""The number of panels in a row."""
COLUMN, UPPER, LOWER = 4.9, 3.3, 2.0
"""The width of a panel, the height of its curves and the least height of its bars, in inches."""
PLOT = 2.4
"""The smallest width of a plot beside the longest name, in inches."""
VALUE = 0.85
"""The width beside the bars for their numbers, in inches."""
HEAD = 0.35
"""The height of the title above the curves, in inches."""
BAR = 0.22
TITLE = "validation (training dotted)"
ALIKE = f"More than {ALIKE_FROM}: some share\nmarker and dash."


@styled
def draw_overview(panels: Sequence[Panel], curves: Sequence[Mapping[str, Curves]] | None = None) -> Figure:
    """Draw one column per panel: curves above (training dotted), means on test below; one legend on the right.

    ``curves`` are those of each panel; by default they are read.
    """
    curves = [read_curves(panel) for panel in panels] if curves is None else curves
    names = [[group.label for group in (*panel.groups, *panel.references)] for panel in panels]
    styles = styles_of([group.label for panel in panels for group in panel.groups])
    grey = reference_styles([group.label for panel in panels for group in panel.references])
    lower = max(LOWER, BAR * max(map(len, names)))
    height = UPPER + lower + 1.1 + HEAD
    down = math.ceil(len(panels) / ACROSS)
    across = math.ceil(len(panels) / down)
    left = max(0.55, text_width([name for column in names for name in column]) + 0.15)
    column = max(COLUMN, left + PLOT)
    with_epochs = {label for own in curves for label, columns in own.items() if columns}
    handles = [
        Line2D([], [], label=label if label in with_epochs else f"{label} (no epochs)", **line_options(style))
        for label, style in {**styles, **grey}.items()
    ]
    labels = [str(handle.get_label()) for handle in handles]
    title = TITLE if len(styles) <= ALIKE_FROM else f"{TITLE}\n{ALIKE}"
    columns = math.ceil(legend_height([*labels, *title.splitlines()]) / (height * down - HEAD - 0.1))
    width = max(columns * (legend_width(labels) + 0.25), text_width(title.splitlines()) + 0.1)
    figure = new_figure(column * across + 0.2 + width, height * down)
    for number, (panel, of_panel) in enumerate(zip(panels, curves, strict=True)):
        x = 0.1 + column * (number % across) + left
        y = height * (down - 1 - number // across)
        plot = column - left - 0.2
        above = place(figure, x, y + lower + 1.1, plot, UPPER)
        draw_curves(above, panel, of_panel, {**styles, **grey})
        draw_bars(place(figure, x, y + 0.5, plot - VALUE, lower), panel, styles)
    add_legend(
        figure, handles, column * across + 0.1, height * down - HEAD, title=title, ncols=columns, alignment="left"
    )
    return figure


def draw_curves(axes: Axes, panel: Panel, curves: Mapping[str, Curves], styles: Mapping[str, Style]) -> None:
    """Draw the primary metric over epochs, with bands of one standard deviation; fits without epochs are level."""
    metric = panel.metric
    train, validation = (f"{split}/{metric.name}" for split in ("train", "validation"))
    level_lines = [group for group in panel.groups if validation not in curves[group.label]]
    level_lines = [group for group in (*level_lines, *panel.references) if math.isfinite(group.validation.mean)]
    for number, group in enumerate(panel.groups):
        label = group.label
        own = curves[label]
        if validation in own:
            draw_band(axes, own[validation], styles[label], metric.scale, label, number)
        if train in own:
            dotted = own[train]
            axes.plot(
                dotted.epochs, metric.scale * dotted.mean, color=styles[label].colour, lw=1, ls=":", clip_on=False
            )
    for number, group in enumerate(level_lines):
        label = group.label
        level(
            axes,
            metric.scale * group.validation.mean,
            label,
            (number + 0.5) / len(level_lines),
            **line_options(styles[label]),
        )
    axes.set(title=panel.title, xlabel="epoch", ylabel=metric.axis())
    if metric.is_share:
        axes.set_ylim(0, 100)
    epochs = [int(band.epochs[-1]) for own in curves.values() for band in own.values()]
    epochs_axis(axes, max(epochs, default=1))
    grid(axes)


def level(axes: Axes, height: float, label: str, at: float, **options: Any) -> None:
    """Draw a level line for a fit without epochs, with its marker at a fraction of the width."""
    axes.plot(
        [0, at, 1], [height] * 3, transform=axes.get_yaxis_transform(), markevery=[1],
        label=f"{label} (no epochs)", clip_on=False, **options,
    )  # fmt: skip


def draw_band(axes: Axes, band: Band, style: Style, factor: float, label: str, number: int) -> None:
    """Draw a mean with a band of one standard deviation, and about ten markers shifted by ``number``."""
    mean, deviation = factor * band.mean, factor * band.deviation
    step = max(1, math.ceil(len(mean) / 8))
    axes.plot(band.epochs, mean, label=label, markevery=(number % step, step), clip_on=False, **line_options(style))
    if deviation.any():
        axes.fill_between(band.epochs, mean - deviation, mean + deviation, color=style.colour, alpha=0.18, lw=0)


def draw_bars(axes: Axes, panel: Panel, styles: Mapping[str, Style]) -> None:
    """Draw means on test, best on top, with one standard deviation over runs."""
    metric = panel.metric
    groups = sorted([*panel.groups, *panel.references], key=lambda group: metric.gain(group.test.mean))
    ends = [metric.scale * (group.test.mean + float(np.nan_to_num(group.test.deviation))) for group in groups]
    most = 100 if metric.is_share else 1.05 * max([*ends, 0.0]) or 1.0
    least = 0 if metric.is_share else min([0.0, *(1.05 * metric.scale * group.test.mean for group in groups)])
    for position, group in enumerate(groups):
        colour = REFERENCE if group.reference else styles[group.label].colour
        mean, deviation = (metric.scale * float(np.nan_to_num(v)) for v in (group.test.mean, group.test.deviation))
        axes.barh(position, mean, color=colour, height=0.62)
        if deviation:
            axes.errorbar(mean, position, xerr=deviation, color=DARK, capsize=3, lw=1)
        test = group.test
        text = metric.spread(test.mean, test.deviation) if test.count > 1 else metric.number(test.mean)
        axes.text(
            min(max(mean, 0) + deviation, most) + (most - least) / 100, position, text, va="center", fontsize=SMALL
        )
    axes.set_yticks(range(len(groups)), [group.label for group in groups])
    axes.set(xlabel=metric.axis("test"), xlim=(least, most), ylim=(-0.6, len(groups) - 0.4))
    if metric.is_share:
        axes.set_xticks(range(0, 101, 20))
