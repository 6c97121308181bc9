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
from headstart.kinds.class_scores import confusion_counts, reliability_bins, scaled
from headstart.records.explained import EXPLAINED, explained_in
from headstart.records.keys import short_names, short_word
from headstart.records.names import EXPLAIN_FOLDER, TEST_PREDICTIONS
from headstart.records.predictions import read_class_predictions
from headstart.records.runs import Run
from headstart.reports.analysis import Analysis, numeric_keys
from headstart.reports.findings import verdicts
from headstart.reports.page.content import FigureImage
from headstart.reports.tables.accuracy import metrics_of
from headstart.statistics import cliques, friedman_nemenyi

FOREST_ROWS = 20
PANELS = 6
"""Figures of single panels are drawn for the first so many panels."""
Styles = Mapping[str, Style]


@dataclass(frozen=True)
class Drawn:
    """A figure on disk, as PNG and as PDF."""

    title: str
    note: str
    png: Path
    pdf: Path

    def image(self, directory: Path) -> FigureImage:
        """For the page in ``directory``."""
        dark = dark_file(self.png)
        return FigureImage(
            title=self.title,
            note=self.note,
            png=self.png.read_bytes(),
            files=[seen_from(directory, self.pdf).as_posix()],
            dark=dark.read_bytes() if dark.is_file() else b"",
        )


def seen_from(directory: Path, file: Path) -> Path:
    """A relative path to a file: those of headstart explain lie in the runs, beside or far from the report."""
    return Path(os.path.relpath(file, directory))


@dataclass(frozen=True)
class Plan:
    """A figure that will be drawn: its file's name, and how."""

    name: str
    title: str
    note: str
    draw: Callable[[], Figure]


def draw_figures(analysis: Analysis, styles: Styles, directory: Path, everything: bool = True) -> list[Drawn]:
    """Draw the overview as ``directory``/report.png and .pdf, and with ``everything`` the others into figures/."""
    curves = [read_curves(panel) for panel in analysis.panels]
    titles = " or ".join(metric.title for metric in metrics_of(analysis))
    overview = Plan(
        "report",
        "Overview",
        f"{titles.capitalize()} by epoch (training dotted) above test {titles}, mean and deviation over runs.",
        lambda: draw_overview(analysis.panels, curves),
    )
    plans = [(directory, overview)]
    if everything:
        folder = directory / "figures"
        folder.mkdir(exist_ok=True)
        plans += [(folder, plan) for plan in planned(analysis, curves, styles)]
    drawn = shared(lambda number: _draw(*plans[number]), len(plans), "drawing", "figures")  # some 0.2 s each
    return [*drawn, *explained(analysis.runs)]


def planned(analysis: Analysis, curves: Sequence[Mapping[str, Curves]], styles: Styles) -> list[Plan]:
    """Return the figures for which there are data."""
    plans = [*_by_number(analysis), *_critical_difference(analysis)]
    for number, panel in enumerate(analysis.panels[:PANELS]):
        slug = f"{number + 1}-{_slug(panel.title)}"
        plans += _of_panel(analysis, panel, curves[number], styles, slug)
    return plans


def _of_panel(
    analysis: Analysis, panel: Panel, curves: Mapping[str, Curves], styles: Styles, slug: str
) -> Iterable[Plan]:
    title = panel.title
    if any(curves.values()):
        yield Plan(
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
        yield Plan(
            f"cost-{slug}",
            f"{panel.metric.title.capitalize()} against cost: {title}",
            "The line joins what nothing cheaper beats (Pareto front).",
            lambda: draw_cost(points, title, styles, panel.metric),
        )
    if rows := _forest_rows(analysis, panel):
        yield Plan(
            f"differences-{slug}",
            f"Differences: {title}",
            "Paired; 95 % intervals corrected for the number of comparisons; filled where they leave out zero.",
            lambda: draw_forest(rows, title, metric=panel.metric),
        )
    yield from _robustness(analysis, title, styles, slug)
    best = panel.best
    runs = [run for run in best.runs if run.id in analysis.evidence and analysis.evidence[run.id].classes]
    if runs:
        yield Plan(
            f"confusion-{slug}",
            f"Confusion: {title}, {best.label}",
            "Share of each true class, averaged over runs.",
            lambda: _confusion(runs, f"{title}: {best.label}"),
        )
        yield Plan(
            f"reliability-{slug}",
            f"Reliability: {title}, {best.label}",
            "Confidence against accuracy, before and after temperature scaling on validation.",
            lambda: _reliability(runs, analysis, f"{title}: {best.label}"),
        )


def _robustness(analysis: Analysis, title: str, styles: Styles, slug: str) -> Iterable[Plan]:
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
        yield Plan(
            f"robustness-{slug}",
            f"Error under corruptions: {title}",
            "Mean over corruptions by severity, 0 is clean; 95 % intervals (Student's t over runs).",
            lambda: draw_by_number(lines, "severity (0: clean)", title, styles, ylabel="test error (%)"),
        )


def _forest_rows(analysis: Analysis, panel: Panel) -> list[tuple[str, float, float, float, bool]]:
    made: Sequence[Comparison] = analysis.comparisons.get(panel.title, ())
    if len(made) > FOREST_ROWS:
        made = verdicts(panel, panel.best, analysis)
    return [
        (f"{one.a} – {one.b}", one.result.difference, one.result.low, one.result.high, one.significant)
        for one in made
        if math.isfinite(one.result.low)
    ]


def _confusion(runs: Sequence[Run], title: str) -> Figure:
    found = [read_class_predictions(run.directory / TEST_PREDICTIONS) for run in runs]
    found = [one for one in found if list(one.classes) == list(found[0].classes)]
    counts = [confusion_counts(one.targets, one.said, len(one.classes)) for one in found]
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


def _by_number(analysis: Analysis) -> Iterable[Plan]:
    """Means against each setting that takes three or more numbers; what else tells panels apart makes figures."""
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
            title = ", ".join(str(value) for value in _telling(others, list(charts)))
            yield Plan(
                f"by-{_slug(short)}-{number + 1}",
                f"Test {metrics[others].title} by {short.replace('_', ' ')}{f': {title}' if title else ''}",
                "Means with 95 % intervals over seeds and test images.",
                partial(draw_by_number, lines, short.replace("_", " "), title, metric=metrics[others]),
            )


def _telling(values: tuple[Any, ...], every: Sequence[tuple[Any, ...]]) -> list[Any]:
    """The values that differ between figures, the first (the data set) always."""
    return [value for place, value in enumerate(values) if place == 0 or len({other[place] for other in every}) > 1]


def _label_without(group: RunGroup, key: str) -> str:
    by = [name for name in group.by if name != key]
    if len(by) == len(group.by):
        return group.label
    names = short_names(by)
    return ", ".join(f"{names[name]} {short_word(group.key[name])}" for name in by) or "all runs"


def _critical_difference(analysis: Analysis) -> Iterable[Plan]:
    """Demšar's diagram over data sets, of rows that all of them have; it takes five data sets and three rows."""
    if len({panel.key.get("dataset") for panel in analysis.panels}) < max(5, len(analysis.panels)):
        return  # blocks have to be independent: other settings on the same images are not
    labels = [{group.label: panel.metric.gain(group.test.mean) for group in panel.groups} for panel in analysis.panels]
    shared = [label for label in analysis.pivot.rows if all(label in of for of in labels)]
    if len(shared) < 3:
        return
    found = friedman_nemenyi(np.array([[of[label] for label in shared] for of in labels]))
    groups = [[shared[index] for index in of] for of in cliques(found.average_ranks, found.critical_difference)]
    yield Plan(
        "critical-difference",
        "Average ranks",
        f"Over {len(labels)} data sets; bars join rows that Nemenyi's test does not separate at 5 %"
        f" (Friedman's p = {found.p_value:.2g}).",
        lambda: draw_critical_difference(shared, found.average_ranks.tolist(), found.critical_difference, groups),
    )


def explained(runs: Sequence[Run]) -> list[Drawn]:
    """Return the images that 'headstart explain' has written to run directories."""
    found = []
    for run in runs:
        for name in explained_in(run.directory)[0]:
            png, pdf = (run.directory / EXPLAIN_FOLDER / f"{name}.{ending}" for ending in ("png", "pdf"))
            found.append(Drawn(f"{EXPLAINED[name]}: {run.directory.name}", "", png, pdf))
    return found


def _draw(directory: Path, plan: Plan) -> Drawn:
    png, pdf = save(plan.draw(), directory, plan.name)
    return Drawn(plan.title, plan.note, png, pdf)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "all"
