"""The most confident mistakes of a run, image by image."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headstart.analysis.explain.drawing import LINE, SAID, TITLE, TRUE, fitted, frame, percent, plain, title_lines
from headstart.kinds.class_predictions import ClassPredictions
from headstart.tables import csv_cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 4
CAPTION = 7.0  # points
WIDTH = 1.85  # inches, of an image and what is written above it


@dataclass(frozen=True)
class ChosenMistakes:
    """Rows of predictions.csv, the most telling first."""

    rows: NDArray[np.int64]
    wrong: bool  # False: nothing is wrong, so these are right answers, the least confident first

    @property
    def what(self) -> str:
        """What they are, for people."""
        count = len(self.rows)
        if self.wrong:
            return f"The {count} most confident mistakes" if count > 1 else "The most confident mistake"
        which = f"the {count} least confident right answers" if count > 1 else "the least confident right answer"
        return f"Nothing is wrong: {which}"


def choose(predictions: ClassPredictions, count: int) -> ChosenMistakes:
    """The ``count`` mistakes (or fewer) with the highest probability of what was said.

    Without any, the right answers with the lowest. Of equal ones the earlier in the file comes first.
    """
    said = predictions.probabilities[np.arange(len(predictions.said)), predictions.said]
    mistakes = np.flatnonzero(~predictions.correct)
    if len(mistakes):
        return ChosenMistakes(mistakes[np.argsort(-said[mistakes], kind="stable")][:count], True)
    return ChosenMistakes(np.argsort(said, kind="stable")[:count], False)


def mistakes_csv(predictions: ClassPredictions, chosen: ChosenMistakes) -> str:
    """A row an image: its number in the figures, id, classes, and the probabilities of both."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["number", "id", "target", "prediction", "probability_of_prediction", "probability_of_target"])
    for number, row in enumerate(chosen.rows.tolist(), start=1):
        target, said = int(predictions.targets[row]), int(predictions.said[row])
        shares = [f"{predictions.probabilities[row, label]:.12g}" for label in (said, target)]
        classes = predictions.classes
        table.writerow(map(csv_cell, [number, predictions.ids[row], classes[target], classes[said], *shares]))
    return text.getvalue()


def draw_mistakes(
    predictions: ClassPredictions, chosen: ChosenMistakes, images: Sequence[NDArray[np.uint8]], title: str
) -> "Figure":
    """A grid of images (S, S, 3) as the network saw them: what was said, what is true, the probabilities of both."""
    from matplotlib.figure import Figure

    lines = math.ceil(len(chosen.rows) / COLUMNS)
    columns = math.ceil(len(chosen.rows) / lines)
    width = max(WIDTH * columns + 0.2, 4.6)
    heading = title_lines([chosen.what, title], width - 0.2)
    height = (WIDTH + 0.3) * lines + 0.65 + LINE * (len(heading) - 2)
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.05)  # type: ignore[union-attr,call-arg]
    figure.suptitle(plain("\n".join(heading)), fontsize=TITLE)
    places = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in places[len(chosen.rows) :]:
        axes.set_axis_off()
    for number, (axes, row, image) in enumerate(zip(places, chosen.rows.tolist(), images, strict=False), start=1):
        axes.imshow(image, interpolation="bicubic")
        frame(axes, SAID if chosen.wrong else TRUE)
        caption(axes, predictions, row, number)
    return figure


def caption(axes: "Axes", predictions: ClassPredictions, row: int, number: int) -> None:
    """Above an image: its number and what was said, then the truth, each with its probability."""
    said, target = int(predictions.said[row]), int(predictions.targets[row])
    shares = predictions.probabilities[row]
    lines = [("said", said, SAID), ("true", target, TRUE)] if said != target else [("said, and true:", said, TRUE)]
    for place, (word, label, colour) in enumerate(reversed(lines)):
        mark = f"{number}  " if place == len(lines) - 1 else ""
        share = f" {percent(shares[label])}"
        line = fitted(predictions.classes[label], WIDTH - 0.3, CAPTION, f"{mark}{word} ", share)
        axes.annotate(
            plain(line),
            (0, 1), (0, 3 + 9.5 * place), xycoords="axes fraction", textcoords="offset points",
            ha="left", va="bottom", fontsize=CAPTION, color=colour, annotation_clip=False,
        )  # fmt: skip
