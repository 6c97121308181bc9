"""Draw a critical-difference diagram: average ranks on a line, joined if not significantly different (Demsar 2006)."""

import math
from collections.abc import Collection, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from headstart.errors import DataError
from headstart.figures.canvas import DARK, SMALL, WIDTH, new_figure, place, styled, text_width

ROW, LEVEL = 0.19, 0.1
"""The distances between names and between bars, in inches."""


@styled
def draw_critical_difference(
    names: Sequence[str],
    ranks: Sequence[float],
    difference: float | None,
    cliques: Sequence[Collection[str]],
    title: str = "",
) -> Figure:
    """Draw Demsar's diagram, with the best rank (1) on the right.

    ``difference`` is the critical difference in ranks, drawn above the axis; None if the cliques come from pairwise
    tests. ``cliques`` are sets of names without a significant difference among them. Raises DataError for fewer than
    two names.
    """
    if len(names) < 2:
        raise DataError("A diagram of ranks needs two or more names.")
    order = sorted(range(len(names)), key=lambda index: ranks[index])
    spans = levels([_span(clique, names, ranks) for clique in cliques if len(clique) > 1])
    depth = LEVEL * (1 + max((level for _, _, level in spans), default=-1))
    half = math.ceil(len(names) / 2)
    head = (0.25 if title else 0.0) + (0.4 if difference is not None else 0.15) + 0.2
    height = head + depth + 0.25 + ROW * half
    side = text_width([_label(name, rank) for name, rank in zip(names, ranks, strict=True)]) + 0.25
    figure = new_figure(WIDTH, height)
    axes = place(figure, side, 0, WIDTH - 2 * side, height)
    top = height - head  # the axis of ranks; all heights are in inches
    last = math.ceil(max(ranks))
    axes.set(xlim=(last, 1), ylim=(0, height))
    axes.axis("off")
    _draw_axis(axes, top, last)
    for low, high, level in spans:
        y = top - 0.08 - LEVEL * level
        axes.plot([low, high], [y, y], color=DARK, lw=3, solid_capstyle="butt", gid="clique")
    first = top - depth - 0.25
    for place_of, index in enumerate(order):
        right = place_of < half
        row = place_of if right else len(names) - 1 - place_of
        _draw_name(axes, names[index], ranks[index], top, first - ROW * row, right)
    if difference is not None:
        _draw_difference(axes, difference, last, top + 0.36)
    if title:
        figure.text(0.5, 1 - 0.06 / height, title, ha="center", va="top", fontsize=9)
    return figure


def levels(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float, int]]:
    """Add to each span the lowest level, from 0, on which it touches no other span."""
    ends: list[float] = []
    found = []
    for low, high in sorted(spans):
        level = next((number for number, end in enumerate(ends) if end < low), len(ends))
        ends[level:] = [high, *ends[level + 1 :]]
        found.append((low, high, level))
    return found


def _span(clique: Collection[str], names: Sequence[str], ranks: Sequence[float]) -> tuple[float, float]:
    """Return the range from the best to the worst rank, slightly extended."""
    rank_of = dict(zip(names, ranks, strict=True))
    inside = [rank_of[name] for name in clique]
    longer = 0.01 * (max(ranks) - 1)
    return min(inside) - longer, max(inside) + longer


def _label(name: str, rank: float) -> str:
    return f"{name} ({rank:.2f})"


def _draw_axis(axes: Axes, y: float, last: int) -> None:
    axes.plot([1, last], [y, y], color=DARK, lw=1)
    step = math.ceil((last - 1) / 12)
    for rank in range(1, last + 1):
        axes.plot([rank, rank], [y, y + 0.07], color=DARK, lw=1)
        if (rank - 1) % step == 0:
            axes.text(rank, y + 0.09, str(rank), ha="center", va="bottom", fontsize=SMALL)


def _draw_name(axes: Axes, name: str, rank: float, top: float, y: float, right: bool) -> None:
    """Draw an elbow from the axis to the side, with the name at its end."""
    end = 1.0 if right else axes.get_xlim()[0]
    beyond = 0.08 / (axes.bbox.width / axes.figure.dpi) * (axes.get_xlim()[0] - 1)
    end += -beyond if right else beyond
    axes.plot([rank, rank, end], [top, y, y], color=DARK, lw=0.8, clip_on=False, gid=name)
    gap = -beyond / 2 if right else beyond / 2
    side = "left" if right else "right"
    axes.text(end + gap, y, _label(name, rank), ha=side, va="center", fontsize=SMALL, clip_on=False)


def _draw_difference(axes: Axes, difference: float, last: int, y: float) -> None:
    """Draw the critical difference as a bar at the left end of the axis."""
    ends = [last, last - difference]
    axes.plot(ends, [y, y], color=DARK, lw=1.2, clip_on=False, gid="critical difference")
    for end in ends:
        axes.plot([end, end], [y - 0.035, y + 0.035], color=DARK, lw=1.2, clip_on=False)
    axes.text(sum(ends) / 2, y + 0.05, f"CD = {difference:.2f}", ha="center", va="bottom", fontsize=SMALL)
