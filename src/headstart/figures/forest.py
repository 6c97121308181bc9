"""Draw a forest plot: differences with their intervals, one below the other."""

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from headstart.errors import DataError
from headstart.figures.canvas import DARK, SMALL, WIDTH, grid, new_figure, place, styled, text_width
from headstart.figures.style import COLOURS, REFERENCE
from headstart.kinds import Metric
from headstart.kinds.classification import ACCURACY

Row = tuple[str, float, float, float, bool]
"""Label; difference and limits of its interval (NaN for none) in the unit of the metric; whether it is significant."""
ROW = 0.21


@styled
def draw_forest(rows: Sequence[Row], title: str = "", level: float = 0.95, metric: Metric = ACCURACY) -> Figure:
    """Draw one line per row, shares in points: filled and blue if significant, otherwise hollow and grey.

    Raises DataError without rows.
    """
    if not rows:
        raise DataError("There is no difference to draw: fewer than two rows share runs.")
    texts = [_interval(*row[1:4], metric) for row in rows]
    scale, unit = metric.scale, "points" if metric.is_share else metric.unit
    left, right = text_width([row[0] for row in rows]) + 0.2, text_width(texts) + 0.2
    head = 0.34 if title else 0.12
    body = ROW * (len(rows) + 0.6)
    height = head + body + 0.6
    width = max(WIDTH, left + right + 2.5)  # wider if names are very long
    figure = new_figure(width, height)
    axes = place(figure, left, 0.6, width - left - right, body)
    axes.axvline(0, color=DARK, lw=0.9, gid="zero")
    for y, (row, text) in enumerate(zip(rows, texts, strict=True)):
        label, difference, low, high, significant = row
        colour = COLOURS[0] if significant else REFERENCE
        axes.plot([scale * low, scale * high], [y, y], color=colour, lw=1.6 if significant else 1.1, gid="interval")
        axes.plot(
            scale * difference, y, marker="s" if significant else "o", ls="", ms=5, color=colour, label=label,
            markerfacecolor=colour if significant else "white",
        )  # fmt: skip
        axes.text(
            1.0, y, f" {text}", transform=axes.get_yaxis_transform(), va="center", fontsize=SMALL,
            color="black" if significant else "#666666",
        )  # fmt: skip
    about = ", ".join(filter(None, [unit, f"{100 * level:g} % intervals"]))
    axes.set_yticks(range(len(rows)), [row[0] for row in rows])
    axes.tick_params(axis="y", left=False)
    axes.spines["left"].set_visible(False)
    axes.set(ylim=(len(rows) - 0.4, -0.7), xlabel=f"difference in test {metric.words} ({about})")
    axes.xaxis.label.set_fontsize(8.5)
    grid(axes, "x")
    figure.text(
        left / width, 0.06 / height, "filled square: significant; hollow circle: not", fontsize=7.5, color="#666666"
    )
    if title:
        axes.set_title(title)
    return figure


def _interval(difference: float, low: float, high: float, metric: Metric) -> str:
    """Return a text such as "+3.2 [+1.1, +5.3]" for 0.032 with limits 0.011 and 0.053."""
    inside = "" if math.isnan(low) else f" [{_signed(low, metric)}, {_signed(high, metric)}]"
    return _signed(difference, metric) + inside


def _signed(value: float, metric: Metric) -> str:
    number = metric.number(abs(value))
    return number if float(number) == 0 else f"{'+' if value > 0 else '−'}{number}"
