"""Draw a reliability diagram: accuracy against confidence (Guo et al. 2017, figure 4)."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from headstart.errors import DataError
from headstart.figures.canvas import grid, line_options, new_figure, place, styled
from headstart.figures.style import BLUE, DASHED, REFERENCE, SOLID, VERMILION, Style
from headstart.kinds.class_scores import ReliabilityBins, pooled

BEFORE, AFTER = Style(VERMILION, "o", SOLID), Style(BLUE, "s", DASHED)
SIDE, BELOW = 2.9, 0.95
FEW = 10


@styled
def draw_reliability(
    before: Sequence[ReliabilityBins], after: Sequence[ReliabilityBins] = (), title: str = ""
) -> Figure:
    """Pool the images of all runs, one ReliabilityBins per run; the legend's ECE is the mean over runs.

    Bins with fewer than FEW images are hollow and not joined. The lower plot shows the fraction of images by
    confidence. Raises DataError without runs.
    """
    if not before:
        raise DataError("There are no predictions to draw a reliability diagram from.")
    head = 0.3 if title else 0.1
    width, height = SIDE + 0.75, 0.5 + BELOW + 0.15 + SIDE + head
    figure = new_figure(width, height)
    upper = place(figure, 0.6, 0.5 + BELOW + 0.15, SIDE, SIDE)
    lower = place(figure, 0.6, 0.5, SIDE, BELOW)
    upper.plot([0, 1], [0, 1], color=REFERENCE, lw=1, label="perfect", zorder=1)
    for bins, name, style in ((before, "unscaled", BEFORE), (after, "scaled", AFTER)):
        if not bins:
            continue
        together = pooled(bins)
        enough = together.count >= min(FEW, together.count.max())
        few = (together.count > 0) & ~enough
        error = 100 * float(np.mean([one.ece for one in bins]))
        label = f"{name} (ECE {error:.1f} %)"
        upper.plot(
            together.confidence[enough], together.accuracy[enough], label=label, clip_on=False, **line_options(style)
        )
        upper.plot(
            together.confidence[few], together.accuracy[few], marker=style.marker, ls="", ms=3.5, color=style.colour,
            markerfacecolor="white", gid="few", clip_on=False,
        )  # fmt: skip
        share = 100 * together.count / together.count.sum()
        lower.stairs(
            share, together.edges, fill=name == "unscaled", color=style.colour, label=name,
            alpha=0.35 if name == "unscaled" else 1, ls=style.linestyle if name == "scaled" else SOLID, lw=1.3,
        )  # fmt: skip
    for axes in (upper, lower):
        axes.set(xlim=(0, 1), xticks=np.arange(0, 1.01, 0.2))
        grid(axes)
    upper.set(ylim=(0, 1), ylabel="accuracy", title=title, yticks=np.arange(0, 1.01, 0.2))
    upper.tick_params(labelbottom=False)
    lower.set(xlabel="confidence (probability of the predicted class)", ylabel="images (%)")
    upper.legend(loc="upper left")
    return figure
