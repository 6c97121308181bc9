"""Draw the primary metric on test against cost: training time, and number of trained parameters."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from headstart.errors import DataError
from headstart.figures.canvas import (
    DARK,
    POINT,
    WIDTH,
    add_legend,
    grid,
    log_ticks,
    metric_limits,
    new_figure,
    place,
    styled,
    text_width,
)
from headstart.figures.style import REFERENCE, Style, styles_of
from headstart.kinds import Metric
from headstart.kinds.classification import ACCURACY

HEIGHT = 3.4
LABEL = 7.5  # font size of labels, in points
FRONT: dict[str, Any] = {"color": REFERENCE, "linewidth": 1, "linestyle": "--"}


@dataclass(frozen=True)
class Point:
    """One series: the mean on test, and the cost of a run; NaN for unknown."""

    label: str
    score: float
    seconds: float
    parameters: float
    """The number of trained parameters; 0 for nearest neighbours and the like."""


@styled
def draw_cost(
    points: Sequence[Point], title: str = "", styles: Mapping[str, Style] | None = None, metric: Metric = ACCURACY
) -> Figure:
    """Draw the metric against seconds (left) and against parameters (right), on logarithmic axes.

    Steps show the Pareto front; dominated points are hollow. Raises DataError when no point has a cost.
    """
    styles = styles or styles_of([point.label for point in points])
    values = [metric.scale * point.score for point in points]
    if not np.isfinite(values).any():
        raise DataError(f"There is no {metric.words} to draw against its cost.")
    figure = new_figure(WIDTH, HEIGHT)
    width, height = (WIDTH - 0.6 - 0.25 - 0.15) / 2, HEIGHT - 0.5 - 0.3
    first = None
    for column, name in enumerate(("seconds", "parameters")):
        axes = place(figure, 0.6 + column * (width + 0.25), 0.5, width, height, sharey=first)
        axes.set_ylim(metric_limits(values, metric, 0.1))
        axes.tick_params(labelleft=first is None)
        axes.set(xlabel="training (s)" if name == "seconds" else "parameters trained")
        axes.set(ylabel="" if first else metric.axis("test"))
        _draw_points(axes, [(point, getattr(point, name)) for point in points], styles, metric)
        first = first or axes
    handles = [
        Line2D([], [], label="Pareto front", **FRONT),
        Line2D([], [], label="on the front", marker="o", ls="", color=DARK),
        Line2D([], [], label="dominated", marker="o", ls="", color=DARK, markerfacecolor="white"),
    ]
    legend = sum(text_width([str(handle.get_label())]) for handle in handles) + 1.75
    add_legend(figure, handles, WIDTH - legend, HEIGHT - 0.09, ncols=3, handlelength=2, columnspacing=1.2)
    if title:
        figure.text(0.6 / WIDTH, 1 - 0.07 / HEIGHT, title, va="top", fontsize=9)
    return figure


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of the (cost, gain) pairs that no other dominates, by rising cost.

    A pair is dominated by another that costs no more, is no worse, and is strictly better in one of the two.
    Equal pairs are kept together. Pairs with a NaN are left out.
    """
    known = [index for index, point in enumerate(points) if not any(map(math.isnan, point))]
    front: list[int] = []
    for index in sorted(known, key=lambda index: (points[index][0], -points[index][1], index)):
        if not front or points[index][1] > points[front[-1]][1] or points[index] == points[front[-1]]:
            front.append(index)
    return front


def _draw_points(axes: Axes, costs: Sequence[tuple[Point, float]], styles: Mapping[str, Style], metric: Metric) -> None:
    costs = [(point, cost) for point, cost in costs if math.isfinite(cost) and math.isfinite(point.score)]
    if not costs:
        raise DataError(f"No run records its {axes.get_xlabel()}.")
    _scale(axes, [cost for _, cost in costs])
    front = pareto([(cost, metric.gain(point.score)) for point, cost in costs])
    steps = np.array([(costs[index][1], metric.scale * costs[index][0].score) for index in front])
    steps = np.vstack([steps, (axes.get_xlim()[1], steps[-1, 1])])  # the front stays level to the right
    axes.step(steps[:, 0], steps[:, 1], where="post", zorder=1, label="Pareto front", **FRONT)
    for index, (point, cost) in enumerate(costs):
        style = styles[point.label]
        fill = style.colour if index in front else "white"
        axes.plot(
            cost, metric.scale * point.score, marker=style.marker, ls="", label=point.label, markersize=6,
            markerfacecolor=fill, markeredgecolor=style.colour, clip_on=False,
        )  # fmt: skip
    grid(axes, "both")
    _label(axes, [(point.label, cost, metric.scale * point.score) for point, cost in costs], steps)


def _scale(axes: Axes, costs: Sequence[float]) -> None:
    """Set a logarithmic axis over the costs; a cost of 0 gets a linear part left of the smallest positive cost."""
    above = [cost for cost in costs if cost > 0] or [1.0]
    low, high = min(above), max(above)
    spread = max((high / low) ** 0.14, (10 * low / high) ** 0.5)  # at least one power of ten
    if min(costs) <= 0:
        start = 10.0 ** math.floor(math.log10(low))
        axes.set_xscale("symlog", linthresh=start, linscale=0.6)
        axes.set_xlim(-0.35 * start, high * spread**1.5)
        ticks = [0.0, *log_ticks(start, high * spread)]
    else:
        axes.set_xscale("log")
        axes.set_xlim(low / spread, high * spread)
        ticks = log_ticks(low / spread, high * spread)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(ticks, [_amount(tick) for tick in ticks])


def _amount(value: float) -> str:
    """Return a short form, such as "1.5 k" for 1500."""
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= limit:
            return f"{value / limit:g}{unit}"
    return f"{value:g}"


Box = tuple[float, float, float, float]
"""Left, bottom, right, top, in points from the lower left corner of the axes."""


def _label(axes: Axes, named: Sequence[tuple[str, float, float]], steps: NDArray[np.float64]) -> None:
    """Write each name beside its point, where it overlaps least with names, points and the front."""
    scale = 72 / axes.get_figure(root=True).dpi  # type: ignore[union-attr]
    corner = axes.bbox.min
    room = (0.0, 0.0, axes.bbox.width * scale, axes.bbox.height * scale)
    spots = (axes.transData.transform([(x, y) for _, x, y in named]) - corner) * scale
    stairs = np.repeat(steps, 2, axis=0)
    stairs = np.column_stack([stairs[1:, 0], stairs[:-1, 1]])
    line = (axes.transData.transform(stairs) - corner) * scale
    taken: list[Box] = [(x - 4, y - 4, x + 4, y + 4) for x, y in spots]
    for a, b in zip(line[:-1], line[1:], strict=True):
        low, high = np.minimum(a, b) - 0.6, np.maximum(a, b) + 0.6
        taken.append((low[0], low[1], high[0], high[1]))
    for index in np.argsort(-spots[:, 1], kind="stable"):
        name, x, y = named[index]
        width, height = 1.06 * text_width([name], LABEL) / POINT + 2, LABEL + 1  # rounding to pixels widens text
        left, bottom = spots[index].tolist()
        options = [(_box(left, bottom, across, up, width, height), across, up) for across, up in _offsets()]
        costs = [_covered(box, taken) + 50 * _outside(box, room) for box, _, _ in options]
        best = next((number for number, cost in enumerate(costs) if cost == 0), int(np.argmin(costs)))
        box, across, up = options[best]
        taken.append(box)
        far = math.hypot(across, up) > 10
        axes.annotate(
            name, (x, y), (across, up), textcoords="offset points", fontsize=LABEL,
            ha="left" if across > 0 else "right" if across < 0 else "center",
            va="bottom" if up > 3 else "top" if up < -3 else "center",
            arrowprops={"arrowstyle": "-", "color": REFERENCE, "lw": 0.6, "shrinkA": 0, "shrinkB": 3} if far else None,
        )  # fmt: skip


def _offsets() -> Iterator[tuple[float, float]]:
    """Yield positions around a point, near ones first."""
    for far in (1.0, 2.2, 3.6, 5.0):
        yield from ((6 * far, 0), (0, 5 * far), (0, -5 * far), (-6 * far, 0))
        yield from ((5 * far, 4 * far), (5 * far, -4 * far), (-5 * far, 4 * far), (-5 * far, -4 * far))


def _box(x: float, y: float, across: float, up: float, width: float, height: float) -> Box:
    left = x + across - (0 if across > 0 else width if across < 0 else width / 2)
    bottom = y + up - (0 if up > 3 else height if up < -3 else height / 2)
    return left, bottom, left + width, bottom + height


def _covered(box: Box, others: Sequence[Box]) -> float:
    """Return the area that a box shares with others."""
    left, bottom, right, top = np.array(others).T
    across = np.minimum(right, box[2]) - np.maximum(left, box[0])
    up = np.minimum(top, box[3]) - np.maximum(bottom, box[1])
    return float((np.maximum(across, 0) * np.maximum(up, 0)).sum())


def _outside(box: Box, room: Box) -> float:
    """Return the distance, in points, by which a box exceeds the room."""
    return sum(max(0.0, by) for by in (room[0] - box[0], room[1] - box[1], box[2] - room[2], box[3] - room[3]))
