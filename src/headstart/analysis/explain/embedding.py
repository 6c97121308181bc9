"""Features of the test images in two dimensions."""

import csv
import importlib.util
import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headstart.analysis.explain.drawing import LINE, TITLE, fitted, plain, title_lines
from headstart.errors import ConfigError, DataError, nearest
from headstart.kinds.class_predictions import ClassPredictions
from headstart.tables import csv_cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METHODS = ("pca", "umap")
MOST = 2000  # images in the plane
NEIGHBOURS = 15  # of UMAP, its default
# Okabe & Ito's palette, with grey for black, which stands out too much, and brown for yellow, which is pale on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#7A4B1E")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
PLOT = 4.8  # inches, at least, of the plot and of its title
NAME, LEGEND = 1.1, 7.0  # inches for a name in the legend, and its points
LEGEND_LINES = 26  # classes in a column of the legend


@dataclass(frozen=True)
class Embedding:
    """Points in the plane, a row an image."""

    rows: NDArray[np.int64]  # of predictions.csv
    points: NDArray[np.float64]  # (N, 2)
    labels: tuple[str, str]  # of the axes
    method: str


def stratified(targets: NDArray[np.int64], most: int = MOST) -> NDArray[np.int64]:
    """At most so many rows, in order, each class in its share: evenly spaced steps through the rows sorted by class."""
    if len(targets) <= most:
        return np.arange(len(targets))
    by_class = np.argsort(targets, kind="stable")
    steps = np.floor((np.arange(most) + 0.5) * len(targets) / most).astype(np.int64)
    return np.sort(by_class[steps])


def check_method(method: str) -> None:
    """Raise ConfigError for a method that does not exist, or whose package is missing."""
    if method not in METHODS:
        raise ConfigError(f"--embedding {method}: there is no such embedding.{nearest(method, METHODS)}")
    if method == "umap" and importlib.util.find_spec("umap") is None:
        raise ConfigError(
            "--embedding umap needs umap-learn, which is missing: pip install 'headstart[umap]', or use pca."
        )


def embed(features: NDArray[np.float32], rows: NDArray[np.int64], method: str) -> Embedding:
    """Features (N, D), standing for these rows of predictions.csv, to the plane.

    "pca": the two directions of most variance. "umap": neighbourhoods kept, distances not (McInnes et al. 2018,
    arXiv:1802.03426), always from the same seed. Raises DataError where there are too few images or features.
    """
    if method == "umap":
        return Embedding(rows, _by_umap(features), ("UMAP 1", "UMAP 2"), method)
    if min(features.shape) < 2:
        raise DataError(f"an embedding needs two images and two features, here are {features.shape}")
    points, shares = principal_components(features)
    first, second = (
        f"principal component {number + 1} ({100 * shares[number]:.1f} % of variance)" for number in (0, 1)
    )
    return Embedding(rows, points, (first, second), method)


def principal_components(features: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points (N, 2) and the shares of variance (2,) along them; features that never change have none."""
    from sklearn.decomposition import PCA

    values = features.astype(np.float64)
    if not np.ptp(values, axis=0).any():
        return np.zeros((len(values), 2)), np.zeros(2)
    pca = PCA(2, svd_solver="full")
    points = pca.fit_transform(values)
    return points, pca.explained_variance_ratio_


def _by_umap(features: NDArray[np.float32]) -> NDArray[np.float64]:
    if len(features) < 5:
        raise DataError(f"--embedding umap needs at least 5 test images, here are {len(features)}; use pca")
    import umap  # numba compiles for seconds

    neighbours = min(NEIGHBOURS, len(features) - 1)
    # One thread and a seed: the same points every time.
    reducer = umap.UMAP(n_neighbors=neighbours, init="pca", random_state=0, n_jobs=1)
    return np.asarray(reducer.fit_transform(features), dtype=np.float64)


def embedding_csv(predictions: ClassPredictions, embedding: Embedding) -> str:
    """A row an image: id, target, prediction, x, y."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["id", "target", "prediction", "x", "y"])
    for row, (x, y) in zip(embedding.rows.tolist(), embedding.points.tolist(), strict=True):
        classes = (predictions.classes[int(labels[row])] for labels in (predictions.targets, predictions.said))
        table.writerow(map(csv_cell, [predictions.ids[row], *classes, f"{x:.6g}", f"{y:.6g}"]))
    return text.getvalue()


def style_of(label: int) -> tuple[str, str]:
    """Colour and marker of a class: 80 different ones, neighbours differ in both."""
    return COLOURS[label % len(COLOURS)], MARKERS[(label + label // len(COLOURS)) % len(MARKERS)]


def draw_embedding(predictions: ClassPredictions, embedding: Embedding, title: str) -> "Figure":
    """Points by true class: filled where that was said, hollow where it was not."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    classes = len(predictions.classes)
    named = classes <= len(COLOURS) * len(MARKERS)
    columns = math.ceil((classes + 2) / LEGEND_LINES) if named else 1
    heading = title_lines([title, _counted(predictions, embedding, named)], PLOT)
    figure = Figure(
        figsize=(PLOT + 0.8 + (NAME + 0.25) * columns, 5.2 + LINE * (len(heading) - 2)), layout="constrained"
    )
    axes = figure.subplots()
    axes.set_title(plain("\n".join(heading)), fontsize=TITLE)
    _draw_points(axes, predictions, embedding)
    axes.set(xlabel=embedding.labels[0], ylabel=embedding.labels[1])
    if embedding.method == "umap":  # its units mean nothing
        axes.set_xticks([])
        axes.set_yticks([])
    axes.margins(0.04)
    handles = axes.get_legend_handles_labels()[0] if named else []
    for face, told in (("#444444", "filled: right"), ("none", "hollow: wrong")):
        handles.append(Line2D([], [], ls="", marker="o", ms=4.5, mfc=face, mec="#444444", mew=0.7, label=told))
    figure.legend(
        handles=handles, loc="outside right upper", ncols=columns, frameon=False, fontsize=LEGEND, handletextpad=0.2,
        columnspacing=0.8, labelspacing=0.35,
    )  # fmt: skip
    return figure


def _draw_points(axes: "Axes", predictions: ClassPredictions, embedding: Embedding) -> None:
    targets, wrong = predictions.targets[embedding.rows], ~predictions.correct[embedding.rows]
    points = embedding.points
    size = 22 if len(points) <= 500 else 14
    for label, name in enumerate(predictions.classes):
        colour, marker = style_of(label)
        for chosen, face, told in ((wrong, "none", ""), (~wrong, colour, plain(fitted(name, NAME, LEGEND)))):
            here = points[(targets == label) & chosen]
            axes.scatter(
                here[:, 0], here[:, 1], s=size, marker=marker, facecolors=face, edgecolors=colour, linewidths=0.7,
                alpha=0.85, label=told or None,
            )  # fmt: skip


def _counted(predictions: ClassPredictions, embedding: Embedding, named: bool) -> str:
    shown, all_of_them = len(embedding.rows), len(predictions.ids)
    wrong = int((~predictions.correct[embedding.rows]).sum())
    of = "" if shown == all_of_them else f" of {all_of_them}"
    text = f"features of {shown}{of} test images by true class, {wrong} of them wrong (hollow)"
    return text if named else f"{text}; {len(predictions.classes)} classes share styles, embedding.csv names them"
