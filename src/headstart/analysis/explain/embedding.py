"""Embed the features of the test images in two dimensions."""

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
# Okabe & Ito's palette, but grey instead of black, which stands out, and brown instead of yellow, which is pale.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#7A4B1E")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
PLOT = 4.8  # smallest width of the plot and of its title, in inches
NAME, LEGEND = 1.1, 7.0  # width of a name in the legend, in inches, and its font size, in points
LEGEND_LINES = 26  # classes in a column of the legend


@dataclass(frozen=True)
class Embedding:
    """Points in the plane, one row per image."""

    rows: NDArray[np.int64]  # rows of predictions.csv, (N,)
    points: NDArray[np.float64]  # (N, 2)
    labels: tuple[str, str]  # of the axes
    method: str


def stratified(targets: NDArray[np.int64], most: int = MOST) -> NDArray[np.int64]:
    """Return at most ``most`` row numbers, sorted, with the classes in proportion.

    The rows are evenly spaced after a sort by class.
    """
    if len(targets) <= most:
        return np.arange(len(targets))
    by_class = np.argsort(targets, kind="stable")
    steps = np.floor((np.arange(most) + 0.5) * len(targets) / most).astype(np.int64)
    return np.sort(by_class[steps])


def check_method(method: str) -> None:
    """Raise ConfigError if the method does not exist or its package is missing."""
    if method not in METHODS:
        raise ConfigError(f"--embedding {method}: there is no such embedding.{nearest(method, METHODS)}")
    if method == "umap" and importlib.util.find_spec("umap") is None:
        raise ConfigError(
            "--embedding umap needs umap-learn, which is missing: pip install 'headstart[umap]', or use pca."
        )


def embed(features: NDArray[np.float32], rows: NDArray[np.int64], method: str) -> Embedding:
    """Embed the features (N, D) of these rows of predictions.csv in the plane.

    "pca" takes the two directions of largest variance. "umap" keeps neighbourhoods but not distances (McInnes et al.
    2018, arXiv:1802.03426); its seed is fixed. Raises DataError for too few images or features.
    """
    if method == "umap":
        return Embedding(rows, _by_umap(features), ("UMAP 1", "UMAP 2"), method)
    if min(features.shape) < 2:
        raise DataError(
            f"an embedding needs two images and two features, but there are {features.shape[0]} and {features.shape[1]}"
        )
    points, fractions = principal_components(features)
    first, second = (
        f"principal component {number + 1} ({100 * fractions[number]:.1f} % of variance)" for number in (0, 1)
    )
    return Embedding(rows, points, (first, second), method)


def principal_components(features: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return points (N, 2) and the fraction of variance (2,) of each axis; all are 0 if no feature varies."""
    from sklearn.decomposition import PCA

    values = features.astype(np.float64)
    if not np.ptp(values, axis=0).any():
        return np.zeros((len(values), 2)), np.zeros(2)
    pca = PCA(2, svd_solver="full")
    points = pca.fit_transform(values)
    return points, pca.explained_variance_ratio_


def _by_umap(features: NDArray[np.float32]) -> NDArray[np.float64]:
    if len(features) < 5:
        raise DataError(f"--embedding umap needs at least 5 test images, but there are {len(features)}; use pca")
    import torch
    import umap  # imported here, because numba compiles for seconds

    neighbours = min(NEIGHBOURS, len(features) - 1)
    # One thread and a fixed seed give the same points every time.
    reducer = umap.UMAP(n_neighbors=neighbours, init="pca", random_state=0, n_jobs=1)
    threads = torch.get_num_threads()
    points = reducer.fit_transform(features)
    torch.set_num_threads(threads)  # because numba sets the number for the whole process
    return np.asarray(points, dtype=np.float64)


def embedding_csv(predictions: ClassPredictions, embedding: Embedding) -> str:
    """Return CSV text with a row per image: id, target, prediction, x, y."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["id", "target", "prediction", "x", "y"])
    for row, (x, y) in zip(embedding.rows.tolist(), embedding.points.tolist(), strict=True):
        classes = (predictions.classes[int(labels[row])] for labels in (predictions.targets, predictions.predicted))
        table.writerow(map(csv_cell, [predictions.ids[row], *classes, f"{x:.6g}", f"{y:.6g}"]))
    return text.getvalue()


def style_of(label: int) -> tuple[str, str]:
    """Return the colour and marker of a class: 80 combinations; consecutive classes differ in both."""
    return COLOURS[label % len(COLOURS)], MARKERS[(label + label // len(COLOURS)) % len(MARKERS)]


def draw_embedding(predictions: ClassPredictions, embedding: Embedding, title: str) -> "Figure":
    """Draw the points by true class: filled if predicted correctly, hollow if not."""
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
    for face, label in (("#444444", "filled: right"), ("none", "hollow: wrong")):
        handles.append(Line2D([], [], ls="", marker="o", ms=4.5, mfc=face, mec="#444444", mew=0.7, label=label))
    figure.legend(
        handles=handles, loc="outside right upper", ncols=columns, frameon=False, fontsize=LEGEND, handletextpad=0.2,
        columnspacing=0.8, labelspacing=0.35,
    )  # fmt: skip
    return figure


def _draw_points(axes: "Axes", predictions: ClassPredictions, embedding: Embedding) -> None:
    targets, wrong = predictions.targets[embedding.rows], ~predictions.correct[embedding.rows]
    points = embedding.points
    size = 22 if len(points) <= 500 else 14
    for number, name in enumerate(predictions.classes):
        colour, marker = style_of(number)
        for chosen, face, label in ((wrong, "none", ""), (~wrong, colour, plain(fitted(name, NAME, LEGEND)))):
            here = points[(targets == number) & chosen]
            axes.scatter(
                here[:, 0], here[:, 1], s=size, marker=marker, facecolors=face, edgecolors=colour, linewidths=0.7,
                alpha=0.85, label=label or None,
            )  # fmt: skip


def _counted(predictions: ClassPredictions, embedding: Embedding, named: bool) -> str:
    shown, total = len(embedding.rows), len(predictions.ids)
    wrong = int((~predictions.correct[embedding.rows]).sum())
    of = "" if shown == total else f" of {total}"
    text = f"features of {shown}{of} test images by true class, {wrong} of them wrong (hollow)"
    return text if named else f"{text}; {len(predictions.classes)} classes share styles, see embedding.csv"
