"""Choose and draw the figures of a report."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from headstart.comparison.comparison import Comparison
from headstart.comparison.curves import Curves, read_curves
from headstart.comparison.panels import Panel
from headstart.comparison.processes import shared
from headstart.comparison.table import RunGroup
from headstart.figures.by_number import draw_by_number
from headstart.figures.canvas import dark_file, save
from headstart.figures.confusion import draw_confusion
from headstart.figures.cost import Point, draw_cost
from headstart.figures.critical_difference import draw_critical_difference
from headstart.figures.forest import draw_forest
from headstart.figures.learning_curves import draw_learning_curves
from headstart.figures.overview import draw_overview
from headstart.figures.reliability import draw_reliability
from headstart.figures.style import Style
from headstart.kinds import Metric
from headstart.kinds.class_scores import Scores, confusion_counts, reliability_bins, scaled
from headstart.records.explained import EXPLAINED, explained_in
from headstart.records.keys import short_names, short_value
from headstart.records.names import EXPLAIN_FOLDER, TEST_PREDICTIONS
from headstart.records.predictions import read_class_predictions
from headstart.records.runs import Run
from headstart.reports.analysis import Analysis, numeric_keys
from headstart.reports.findings import verdicts
from headstart.reports.page.content import FigureImage
from headstart.reports.tables.accuracy import metrics_of
from headstart.statistics import cliques, friedman_nemenyi

FOREST_ROWS = 20
PANELS = 6  # up to this many panels get figures of their own
Styles = Mapping[str, Style]


@dataclass(frozen=True)
class DrawnFigure:
    """A figure on disk, as PNG and as PDF."""

    title: str
    note: str
    png: Path
    pdf: Path

    def image(self, directory: Path) -> FigureImage:
        """Return the figure for the page in ``directory``."""
        dark = dark_file(self.png)
        return FigureImage(
            title=self.title,
            note=self.note,
            png=self.png.read_bytes(),
            files=[relative_path(directory, self.pdf).as_posix()],
            dark=dark.read_bytes() if dark.is_file() else b"",
        )


def relative_path(directory: Path, file: Path) -> Path:
    """Return the path of a file relative to ``directory``; it may lie outside, in a run directory."""
    return Path(os.path.relpath(file, directory))


@dataclass(frozen=True)
class FigurePlan:
    """A figure to draw, with the name of its file."""

    name: str
    title: str
    note: str
    draw: Callable[[], Figure]


def draw_figures(analysis: Analysis, styles: Styles, directory: Path, everything: bool = True) -> list[DrawnFigure]:
    """Draw the overview as ``directory``/report.png and .pdf, and with ``everything`` the others into figures/."""
    curves = [read_curves(panel) for panel in analysis.panels]
    titles = " or ".join(metric.title for metric in metrics_of(analysis))
    overview = FigurePlan(
        "report",
        "Overview",
        f"{titles.capitalize()} by epoch (training dotted), test {titles} below; mean and deviation over runs.",
        lambda: draw_overview(analysis.panels, curves),
    )
    plans = [(directory, overview)]
    if everything:
        folder = directory / "figures"
        folder.mkdir(exist_ok=True)
        plans += [(folder, plan) for plan in planned(analysis, curves, styles)]
    drawn = shared(lambda number: _draw(*plans[number]), len(plans), "drawing", "figures")  # about 0.2 s each
    return [*drawn, *explained(analysis.runs)]


def planned(analysis: Analysis, curves: Sequence[Mapping[str, Curves]], styles: Styles) -> list[FigurePlan]:
    """Return the figures for which there are data."""
    plans = [*_number_figures(analysis), *_critical_difference(analysis)]
    for number, panel in enumerate(analysis.panels[:PANELS]):
        slug = f"{number + 1}-{_slug(panel.title)}"
        plans += _panel_figures(analysis, panel, curves[number], styles, slug)
    return plans


def _panel_figures(
    analysis: Analysis, panel: Panel, curves: Mapping[str, Curves], styles: Styles, slug: str
) -> Iterable[FigurePlan]:
    title = panel.title
    if any(curves.values()):
        yield FigurePlan(
            f"curves-{slug}",
            f"Learning curves: {title}",
            "Mean and one deviation over runs.",
            lambda: draw_learning_curves(curves, title, styles, panel.metric, panel.kind.loss_unit),
        )
    points = [
        Point(group.label, group.test.mean, group.cost("train_seconds"), group.cost("trainable_parameters"))
        for group in panel.groups
    ]
    if len(points) > 1 and all(math.isfinite(point.seconds + point.parameters) for point in points):
        yield FigurePlan(
            f"cost-{slug}",
            f"{panel.metric.title.capitalize()} against cost: {title}",
            "The line joins the rows that no cheaper row beats (Pareto front).",
            lambda: draw_cost(points, title, styles, panel.metric),
        )
    if rows := _forest_rows(analysis, panel):
        yield FigurePlan(
            f"differences-{slug}",
            f"Differences: {title}",
            "Paired; 95 % intervals corrected for the number of comparisons. Filled: the interval excludes zero.",
            lambda: draw_forest(rows, title, metric=panel.metric),
        )
    yield from _robustness(analysis, title, styles, slug)
    best = panel.best
    evidence = analysis.evidence
    runs = [run for run in best.runs if run.id in evidence and isinstance(evidence[run.id].scores, Scores)]
    if runs:
        yield FigurePlan(
            f"confusion-{slug}",
            f"Confusion: {title}, {best.label}",
            "Share of each true class, averaged over runs.",
            lambda: _confusion(runs, f"{title}: {best.label}"),
        )
        yield FigurePlan(
            f"reliability-{slug}",
            f"Reliability: {title}, {best.label}",
            "Confidence against accuracy, before and after temperature scaling on validation.",
            lambda: _reliability(runs, analysis, f"{title}: {best.label}"),
        )


def _robustness(analysis: Analysis, title: str, styles: Styles, slug: str) -> Iterable[FigurePlan]:
    """Yield the figure of error by severity, one line per group."""
    found = analysis.robustness
    panel = next((panel for panel in found.panels if panel.title == title), None) if found is not None else None
    if found is None or panel is None:
        return
    lines = {}
    for group in panel.groups:
        places = []
        for severity, error in found.by_severity(group).items():
            low, high = (error.mean if math.isnan(end) else end for end in error.interval)
            places.append((float(severity), error.mean, low, high))
        lines[group.label] = places
    if any(lines.values()):
        yield FigurePlan(
            f"robustness-{slug}",
            f"Error under corruptions: {title}",
            "Mean over corruptions by severity, 0 is clean; 95 % intervals (Student's t over runs).",
            lambda: draw_by_number(lines, "severity (0: clean)", title, styles, ylabel="test error (%)"),
        )


def _forest_rows(analysis: Analysis, panel: Panel) -> list[tuple[str, float, float, float, bool]]:
    comparisons: Sequence[Comparison] = analysis.comparisons.get(panel.title, ())
    if len(comparisons) > FOREST_ROWS:
        comparisons = verdicts(panel, panel.best, analysis)
    return [
        (f"{one.a} – {one.b}", one.result.difference, one.result.low, one.result.high, one.significant)
        for one in comparisons
        if math.isfinite(one.result.low)
    ]


def _confusion(runs: Sequence[Run], title: str) -> Figure:
    found = [read_class_predictions(run.directory / TEST_PREDICTIONS) for run in runs]
    found = [one for one in found if list(one.classes) == list(found[0].classes)]
    counts = [confusion_counts(one.targets, one.predicted, len(one.classes)) for one in found]
    return draw_confusion(counts, list(found[0].classes), title)


def _reliability(runs: Sequence[Run], analysis: Analysis, title: str) -> Figure:
    before, after = [], []
    for run in runs:
        found = read_class_predictions(run.directory / TEST_PREDICTIONS)
        before.append(reliability_bins(found.targets, found.probabilities))
        temperature = analysis.evidence[run.id].numbers.get("temperature")
        if temperature is not None:
            after.append(reliability_bins(found.targets, scaled(found.probabilities, temperature)))
    return draw_reliability(before, after if len(after) == len(before) else [], title)


def _number_figures(analysis: Analysis) -> Iterable[FigurePlan]:
    """Yield figures of means against each setting with three or more numbers, one per combination of the others."""
    for key in numeric_keys(analysis.panels):
        short = short_names([key])[key]
        charts: dict[tuple[Any, ...], dict[str, list[tuple[float, float, float, float]]]] = {}
        metrics: dict[tuple[Any, ...], Metric] = {}
        for panel in analysis.panels:
            others = tuple(value for name, value in panel.key.items() if name != key)
            metrics[others] = panel.metric
            for group in panel.groups:
                low, high = (group.test.mean if math.isnan(end) else end for end in group.test.interval)
                place = (float(group.key[key]), group.test.mean, low, high)
                charts.setdefault(others, {}).setdefault(_label_without(group, key), []).append(place)
        for number, (others, lines) in enumerate(charts.items()):
            if max(len({place[0] for place in line}) for line in lines.values()) < 3:
                continue
            title = ", ".join(str(value) for value in _varying(others, list(charts)))
            yield FigurePlan(
                f"by-{_slug(short)}-{number + 1}",
                f"Test {metrics[others].title} by {short.replace('_', ' ')}{f': {title}' if title else ''}",
                "Means with 95 % intervals over seeds and test images.",
                partial(draw_by_number, lines, short.replace("_", " "), title, metric=metrics[others]),
            )


def _varying(values: tuple[Any, ...], every: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Return the values that differ between figures, and always the first (the data set)."""
    return [value for place, value in enumerate(values) if place == 0 or len({other[place] for other in every}) > 1]


def _label_without(group: RunGroup, key: str) -> str:
    by = [name for name in group.by if name != key]
    if len(by) == len(group.by):
        return group.label
    names = short_names(by)
    return ", ".join(f"{names[name]} {short_value(group.key[name])}" for name in by) or "all runs"


def _critical_difference(analysis: Analysis) -> Iterable[FigurePlan]:
    """Yield Demšar's diagram of the rows that all data sets have; it needs three rows and five data sets."""
    if len({panel.key.get("dataset") for panel in analysis.panels}) < max(5, len(analysis.panels)):
        return  # blocks must be independent, and other settings on the same images are not
    gains = [{group.label: panel.metric.gain(group.test.mean) for group in panel.groups} for panel in analysis.panels]
    labels = [label for label in analysis.pivot.rows if all(label in known for known in gains)]
    if len(labels) < 3:
        return
    found = friedman_nemenyi(np.array([[known[label] for label in labels] for known in gains]))
    groups = [[labels[index] for index in clique] for clique in cliques(found.average_ranks, found.critical_difference)]
    yield FigurePlan(
        "critical-difference",
        "Average ranks",
        f"Over {len(gains)} data sets; bars join rows that Nemenyi's test does not separate at 5 %"
        f" (Friedman's p = {found.p_value:.2g}).",
        lambda: draw_critical_difference(labels, found.average_ranks.tolist(), found.critical_difference, groups),
    )


def explained(runs: Sequence[Run]) -> list[DrawnFigure]:
    """Return the images that 'headstart explain' has written to run directories."""
    found = []
    for run in runs:
        for name in explained_in(run.directory)[0]:
            png, pdf = (run.directory / EXPLAIN_FOLDER / f"{name}.{ending}" for ending in ("png", "pdf"))
            found.append(DrawnFigure(f"{EXPLAINED[name]}: {run.directory.name}", "", png, pdf))
    return found


def _draw(directory: Path, plan: FigurePlan) -> DrawnFigure:
    png, pdf = save(plan.draw(), directory, plan.name)
    return DrawnFigure(plan.title, plan.note, png, pdf)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "all"
