"""Draw the primary metric on test against a numeric setting, such as labels per class."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from headstart.errors import DataError
from headstart.figures.canvas import (
    LEAST,
    POINT,
    WIDTH,
    add_legend,
    grid,
    legend_height,
    legend_width,
    line_options,
    log_ticks,
    metric_limits,
    new_figure,
    place,
    styled,
    text_width,
)
from headstart.figures.style import Style, styles_of
from headstart.kinds import Metric
from headstart.kinds.classification import ACCURACY

Place = tuple[float, float, float, float]
"""The number, then the mean on test and the limits of its interval (NaN for none), in the unit of the metric."""
LOG_FROM = 8
"""The axis is logarithmic if the largest number is at least this many times the smallest."""
HEIGHT = 3.2


@styled
def draw_by_number(
    lines: Mapping[str, Sequence[Place]],
    axis: str,
    title: str = "",
    styles: Mapping[str, Style] | None = None,
    metric: Metric = ACCURACY,
    ylabel: str = "",
) -> Figure:
    """Draw one line per series; the legend lists the highest last value first.

    Error bars are shifted sideways by a point or two so that they do not overlap. Raises DataError when there is
    nothing to draw.
    """
    lines = {label: sorted(line) for label, line in lines.items() if line}
    if not lines:
        raise DataError(f"There is no {metric.words} to draw against {axis}.")
    styles = styles or styles_of(list(lines))
    labels = sorted(lines, key=lambda label: (-lines[label][-1][0], -lines[label][-1][1]))
    numbers = sorted({place[0] for line in lines.values() for place in line})
    head = 0.32 if title else 0.12
    height = max(HEIGHT, legend_height(labels) + head + 0.1)
    figure = new_figure(WIDTH, height)
    width = max(WIDTH - 0.75 - 0.2 - legend_width(labels), LEAST)
    top = height - head
    axes = place(figure, 0.7, 0.5, width, top - 0.5)
    for number, label in enumerate(labels):
        x, mean, low, high = np.array(lines[label]).T
        aside = min(1.6, 8 / len(labels)) * (number - (len(labels) - 1) / 2)
        moved = axes.transData + ScaledTranslation(aside * POINT, 0, figure.dpi_scale_trans)
        interval = metric.scale * np.array([mean - low, high - mean])
        axes.errorbar(
            x, metric.scale * mean, interval, transform=moved, label=label, capsize=1.5, elinewidth=0.9, clip_on=False,
            **line_options(styles[label]),
        )  # fmt: skip
    log = numbers[0] > 0 and numbers[-1] >= LOG_FROM * numbers[0]
    axes.set_xscale("log" if log else "linear")
    axes.set_xlim(number_limits(numbers, log))
    ticks = number_ticks(numbers, width, log)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    values = [metric.scale * value for line in lines.values() for place in line for value in place[1:]]
    axes.set(xlabel=axis, ylabel=ylabel or metric.axis("test"), ylim=metric_limits(values, metric), title=title)
    grid(axes)
    handles = [Line2D([], [], label=label, **line_options(styles[label])) for label in labels]
    add_legend(figure, handles, 0.6 + width + 0.15, top)
    return figure


def number_limits(numbers: Sequence[float], log: bool) -> tuple[float, float]:
    """Return axis limits with a margin of 5 % around the numbers."""
    low, high = numbers[0], numbers[-1]
    if log:
        margin = (high / low) ** 0.05
        return low / margin, high * margin
    gap = 0.05 * (high - low) or 1.0
    return low - gap, high + gap


def number_ticks(numbers: Sequence[float], width: float, log: bool) -> list[float]:
    """Return the numbers if their labels fit on an axis of that width in inches, otherwise round numbers."""
    if len(numbers) == 1:
        return list(numbers)
    scale = np.log(numbers) if log else np.asarray(numbers, float)
    places = width * (scale - scale[0]) / (scale[-1] - scale[0])
    wide = np.array([text_width([f"{number:g}"]) for number in numbers])
    if (np.diff(places) > (wide[1:] + wide[:-1]) / 2 + 0.05).all():
        return list(numbers)
    if log:
        return log_ticks(numbers[0], numbers[-1])
    return [float(tick) for tick in np.linspace(numbers[0], numbers[-1], 5)]
