"""Draw the learning curves of one panel: training beside validation, so that overfitting shows."""

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from headstart.comparison.curves import Curves
from headstart.errors import DataError
from headstart.figures.canvas import (
    LEAST,
    WIDTH,
    add_legend,
    epochs_axis,
    grid,
    legend_height,
    legend_width,
    line_options,
    new_figure,
    place,
    styled,
)
from headstart.figures.overview import draw_band
from headstart.figures.style import Style, styles_of
from headstart.kinds import Metric
from headstart.kinds.classification import ACCURACY

HEIGHT = 4.6
SPLITS = {"train": "training", "validation": "validation"}


@styled
def draw_learning_curves(
    curves: Mapping[str, Curves],
    title: str = "",
    styles: Mapping[str, Style] | None = None,
    metric: Metric = ACCURACY,
    loss_unit: str = "nats",
) -> Figure:
    """Draw rows for metric and loss, columns for training and validation; bands are one standard deviation over runs.

    The plots of a row share one scale. ``curves`` come from read_curves; labels without curves are left out. Raises
    DataError when none is left.
    """
    curves = {label: own for label, own in curves.items() if own}
    if not curves:
        raise DataError("There are no learning curves to draw: none of the runs was trained in epochs.")
    styles = styles or styles_of(list(curves))
    title_height = 0.5 if title else 0.28
    total_height = max(HEIGHT, legend_height(list(curves)) + title_height + 0.1)
    figure = new_figure(WIDTH, total_height)
    last = max(int(band.epochs[-1]) for own in curves.values() for band in own.values())
    width = max((WIDTH - 0.6 - 0.25 - 0.15 - 0.1 - legend_width(list(curves))) / 2, LEAST)
    top = total_height - title_height
    height = (top - 0.45 - 0.2) / 2
    loss = f"loss ({loss_unit})" if loss_unit else "loss"
    for row, (score, factor, name) in enumerate(((metric.name, metric.scale, metric.axis()), ("loss", 1, loss))):
        first = None
        for column, (split, heading) in enumerate(SPLITS.items()):
            bottom = top - height - row * (height + 0.2)
            axes = place(figure, 0.6 + column * (width + 0.25), bottom, width, height, sharey=first)
            for number, (label, own) in enumerate(curves.items()):
                if f"{split}/{score}" in own:
                    draw_band(axes, own[f"{split}/{score}"], styles[label], factor, label, number)
            axes.tick_params(labelleft=first is None, labelbottom=row == 1)
            epochs_axis(axes, last)
            axes.set(title="" if row else heading, xlabel="epoch" if row else "", ylabel="" if first else name)
            grid(axes)
            first = first or axes
        if first is not None and score == metric.name:  # a band may exceed the range of the metric
            least, most = (factor * bound for bound in metric.bounds)
            first.set_ylim(max(first.get_ylim()[0], least), min(first.get_ylim()[1], most))
    handles = [Line2D([], [], label=label, **line_options(styles[label])) for label in curves]
    add_legend(figure, handles, WIDTH - 0.05 - legend_width(list(curves)), top)
    if title:
        figure.text(0.6 / WIDTH, 1 - 0.08 / total_height, title, va="top", fontsize=9)
    return figure
