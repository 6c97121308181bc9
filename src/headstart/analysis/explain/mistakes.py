"""Show the most confident mistakes of a run, image by image."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headstart.analysis.explain.drawing import LINE, PREDICTED, TITLE, TRUE, fitted, frame, percent, plain, title_lines
from headstart.kinds.class_predictions import ClassPredictions
from headstart.tables import csv_cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 4
CAPTION = 7.0  # points
WIDTH = 1.85  # of an image and its caption, in inches


@dataclass(frozen=True)
class ChosenMistakes:
    """Rows of predictions.csv: the most confident mistakes, or else the least confident right predictions."""

    rows: NDArray[np.int64]
    wrong: bool  # False: there are no mistakes, so these are right predictions

    @property
    def title(self) -> str:
        """Return the title of the figure."""
        count = len(self.rows)
        if self.wrong:
            return f"The {count} most confident mistakes" if count > 1 else "The most confident mistake"
        which = (
            f"the {count} least confident right predictions" if count > 1 else "the least confident right prediction"
        )
        return f"No mistakes: {which}"


def choose(predictions: ClassPredictions, count: int) -> ChosenMistakes:
    """Return up to ``count`` mistakes with the highest probability of the predicted class.

    Without mistakes, return the right predictions with the lowest probability. Ties keep the order of the file.
    """
    probability = predictions.probabilities[np.arange(len(predictions.predicted)), predictions.predicted]
    mistakes = np.flatnonzero(~predictions.correct)
    if len(mistakes):
        return ChosenMistakes(mistakes[np.argsort(-probability[mistakes], kind="stable")][:count], True)
    return ChosenMistakes(np.argsort(probability, kind="stable")[:count], False)


def mistakes_csv(predictions: ClassPredictions, chosen: ChosenMistakes) -> str:
    """Return CSV text with a row per image: number in the figures, id, both classes and their probabilities."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["number", "id", "target", "prediction", "probability_of_prediction", "probability_of_target"])
    for number, row in enumerate(chosen.rows.tolist(), start=1):
        target, predicted = int(predictions.targets[row]), int(predictions.predicted[row])
        shares = [f"{predictions.probabilities[row, label]:.12g}" for label in (predicted, target)]
        classes = predictions.classes
        table.writerow(map(csv_cell, [number, predictions.ids[row], classes[target], classes[predicted], *shares]))
    return text.getvalue()


def draw_mistakes(
    predictions: ClassPredictions, chosen: ChosenMistakes, images: Sequence[NDArray[np.uint8]], title: str
) -> "Figure":
    """Draw a grid of images (S, S, 3) as the network saw them, with both classes and their probabilities."""
    from matplotlib.figure import Figure

    lines = math.ceil(len(chosen.rows) / COLUMNS)
    columns = math.ceil(len(chosen.rows) / lines)
    width = max(WIDTH * columns + 0.2, 4.6)
    heading = title_lines([chosen.title, title], width - 0.2)
    height = (WIDTH + 0.3) * lines + 0.65 + LINE * (len(heading) - 2)
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.05)  # type: ignore[union-attr,call-arg]
    figure.suptitle(plain("\n".join(heading)), fontsize=TITLE)
    places = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in places[len(chosen.rows) :]:
        axes.set_axis_off()
    for number, (axes, row, image) in enumerate(zip(places, chosen.rows.tolist(), images, strict=False), start=1):
        axes.imshow(image, interpolation="bicubic")
        frame(axes, PREDICTED if chosen.wrong else TRUE)
        caption(axes, predictions, row, number)
    return figure


def caption(axes: "Axes", predictions: ClassPredictions, row: int, number: int) -> None:
    """Write the image's number, predicted class and true class above it, each class with its probability."""
    predicted, target = int(predictions.predicted[row]), int(predictions.targets[row])
    shares = predictions.probabilities[row]
    lines = [("predicted", predicted, PREDICTED), ("true", target, TRUE)]
    if predicted == target:
        lines = [("predicted and true:", predicted, TRUE)]
    for place, (word, label, colour) in enumerate(reversed(lines)):
        mark = f"{number}  " if place == len(lines) - 1 else ""
        share = f" {percent(shares[label])}"
        line = fitted(predictions.classes[label], WIDTH - 0.3, CAPTION, f"{mark}{word} ", share)
        axes.annotate(
            plain(line),
            (0, 1), (0, 3 + 9.5 * place), xycoords="axes fraction", textcoords="offset points",
            ha="left", va="bottom", fontsize=CAPTION, color=colour, annotation_clip=False,
        )  # fmt: skip
