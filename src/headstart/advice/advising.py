"""Advise which backbone, stage and strategy to use for a data set, and what more labels would bring."""

import json
import logging
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from headstart.advice.candidates import SOLVERS, SolvedCandidate, SolvedStages, advised, folds_for, in_order, try_stages
from headstart.advice.forecasting import ENOUGH, AccuracyForecast, forecast_accuracy
from headstart.advice.reading import ImagesToMeasure, StageReader, read_data_set
from headstart.advice.similarity_tables import number_cell, without_nan
from headstart.console import show_log
from headstart.errors import DataError
from headstart.files import write_atomically
from headstart.report_table import Cell, Column, ReportTable, count_cell, share_cell
from headstart.reports.renderers.csv import csv_table
from headstart.reports.renderers.text import text_table
from headstart.statistics.accuracy import score_interval
from headstart.statistics.best_of import LEAST, best_of
from headstart.statistics.intervals import Interval
from headstart.training import compose
from headstart.training.prepare import run_settings, settle_process

LEVEL = 0.9
SHOWN = 10  # candidates in the terminal
MORE = (2, 4)  # times the labels


@dataclass(frozen=True)
class Advice:
    """The candidates, best first, the one to use, and a forecast for it."""

    target: str
    images: int
    held_out_images: int
    """Images that scored the candidates: those of validation, or all that folds held out."""
    folds: int
    """Folds of training and validation images together, or 1: the validation split."""
    candidates: Sequence[SolvedCandidate]
    chosen: SolvedCandidate
    expected: Interval
    """Of the chosen candidate, corrected for the choice; accuracies are fractions of 1."""
    labels: int
    """Training images of the smallest class."""
    forecast: AccuracyForecast | None
    """None with too few labels."""

    def write(self, folder: Path) -> None:
        """Write advice.json, candidates.csv and forecast.csv to a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "candidates.csv", csv_table(candidates_table(self)))
        if self.forecast is not None:
            write_atomically(folder / "forecast.csv", csv_table(forecast_table(self.forecast)))
        write_atomically(folder / "advice.json", json.dumps(without_nan(self.values()), indent=2) + "\n")

    def values(self) -> dict:
        """Return the advice as values for JSON."""
        return {
            "target": self.target,
            "images": self.images,
            "held_out_images": self.held_out_images,
            "folds": self.folds,
            "settings": list(self.chosen.settings),
            "accuracy": {
                "expected": self.expected.mean,
                "low": self.expected.low,
                "high": self.expected.high,
                "level": LEVEL,
            },
            "seconds": self.chosen.seconds,
            "labels_per_class": self.labels,
            "forecast": None
            if self.forecast is None
            else [
                {"labels_per_class": one.labels, "accuracy": 1 - one.error, "low": 1 - one.high, "high": 1 - one.low}
                for one in (self.forecast.at(factor * self.labels) for factor in MORE)
            ],
        }


def run_advice(configs: Sequence[tuple[str, DictConfig]], given: Sequence[str]) -> Advice:
    """Try every solved strategy at every stage of each backbone, print the advice, and return it.

    ``configs`` are the settings of a run for each backbone, by the name of its config; ``given`` are the settings
    that all share, as they were typed. Raises DataError for a target without one class for each image, or with fewer
    than five validation images.
    """
    settle_process()
    solved: dict[str, SolvedStages] = {}
    target: ImagesToMeasure | None = None
    with show_log(), few_warnings():
        for name, settings in configs:
            config = OmegaConf.create(run_settings(settings))
            backbone = compose.make_backbone(config)
            target = read_data_set(config, backbone)
            if target.validation is None:
                raise DataError(f"{target.name} has no classes: advise compares accuracies.")
            if len(target.validation) < LEAST:
                raise DataError(f"{target.name} has {len(target.validation)} validation images: advise needs {LEAST}.")
            solved[name] = try_stages(StageReader(config, backbone, target.signature), target, name)
        assert target is not None
        assert target.validation is not None
        candidates = in_order([one for stages in solved.values() for one in stages.candidates])
        chosen = advised(candidates)
        stages = solved[chosen.backbone]
        forecast = forecast_accuracy(SOLVERS[chosen.strategy], *stages.features[chosen.stage], stages.task)
    labels = int(stages.features[chosen.stage][0].targets.bincount(minlength=stages.task.num_classes).min())
    scored, folds = len(chosen.correct), folds_for(target)
    expected = expected_accuracy(candidates, chosen)
    advice = Advice(target.name, len(target.train), scored, folds, candidates, chosen, expected, labels, forecast)
    print("\n" + "\n\n".join(paragraphs(advice, given)), flush=True)
    return advice


def expected_accuracy(candidates: Sequence[SolvedCandidate], chosen: SolvedCandidate) -> Interval:
    """Return the accuracy of the best candidate, corrected for the choice, less its lead over the chosen one."""
    best, lead = best_of([one.correct for one in candidates], LEVEL), candidates[0].accuracy - chosen.accuracy
    return Interval(best.mean - lead, max(0.0, best.low - lead), best.high - lead, LEVEL)


@contextmanager
def few_warnings() -> Iterator[None]:
    """Hide the warnings of solvers about their strengths, which concern single fits of many."""
    solvers = logging.getLogger("headstart.solvers")
    level = solvers.level
    solvers.setLevel(logging.ERROR)
    try:
        yield
    finally:
        solvers.setLevel(level)


def paragraphs(advice: Advice, given: Sequence[str]) -> Iterator[str]:
    """Yield the advice in words and tables."""
    chosen, best, expected = advice.chosen, advice.candidates[0], advice.expected
    settings = [one for one in given if not one.startswith("backbone=")]
    yield f"headstart train {shlex.join([*settings, *chosen.settings])}"
    yield (
        f"Expect an accuracy of {100 * expected.mean:.1f} % ({100 * expected.low:.1f} to {100 * expected.high:.1f},"
        f" {100 * LEVEL:.0f} % interval), after {chosen.seconds:.0f} s for features and fit.\n"
        f"It is corrected for choosing the best of {len(advice.candidates)} on {advice.held_out_images} images,"
        f" {'those of validation' if advice.folds == 1 else f'held out in {advice.folds} folds'}."
    )
    if chosen is not best:
        yield (
            f"{best.stage} alone is {100 * (best.accuracy - chosen.accuracy):.1f} points better: within one standard"
            " error, so all stages are joined."
        )
    yield text_table(candidates_table(advice).first(SHOWN))
    if advice.forecast is None:
        yield (f"A forecast needs {ENOUGH} labels in each class or more, and the smallest class has {advice.labels}.")
        return
    yield text_table(forecast_table(advice.forecast))
    for factor in MORE:
        yield more_labels(advice, factor)


def more_labels(advice: Advice, factor: int) -> str:
    """Return a sentence on what ``factor`` times the labels would bring."""
    assert advice.forecast is not None
    labels = factor * advice.labels
    found = advice.forecast.at(labels)
    gain = advice.forecast.curve.gain(labels)
    mean, low, high = (f"{100 * (1 - error):.1f}" for error in (found.error, found.high, found.low))
    return (
        f"With {labels - advice.labels} more labels a class you would gain about {100 * gain:.1f} points: {mean} %"
        f" ({low} to {high}, {100 * LEVEL:.0f} % interval)."
    )


def candidates_table(advice: Advice) -> ReportTable:
    """Return a row for each candidate, best first."""
    columns = [
        Column("backbone", field="backbone"),
        Column("stage", field="stage"),
        Column("strategy", field="strategy"),
        Column("accuracy", "number", "On validation or held-out folds, %.", "accuracy"),
        Column("from", "number", "Lower bound of the 90 % interval.", "low"),
        Column("to", "number", "Upper bound.", "high"),
        Column("seconds", "number", "For features and fit.", "seconds"),
    ]
    rows = []
    for one in advice.candidates:
        interval = score_interval(one.accuracy, 0.0, 1, len(one.correct), level=LEVEL)
        shares = [share_cell(share) for share in (one.accuracy, interval.low, interval.high)]
        rows.append([Cell(one.backbone), Cell(one.stage), Cell(one.strategy), *shares, number_cell(one.seconds, 1)])
    return ReportTable("candidates", "Candidates", "", columns, rows)


def forecast_table(forecast: AccuracyForecast) -> ReportTable:
    """Return measured accuracies by labels a class, and below a rule the forecasts with their intervals."""
    columns = [
        Column("labels a class", "number", field="labels"),
        Column("accuracy", "number", "On validation, %.", "accuracy"),
        Column("from", "number", "Lower bound of the 90 % interval of one measurement.", "low"),
        Column("to", "number", "Upper bound.", "high"),
        Column("", field="kind"),
    ]
    nan: Callable[[], Cell] = lambda: share_cell(float("nan"))  # noqa: E731
    rows = [
        [count_cell(size), share_cell(accuracy), nan(), nan(), Cell("measured")]
        for size, accuracy in zip(forecast.sizes, forecast.accuracies, strict=True)
    ]
    for factor in MORE:
        found = forecast.at(factor * forecast.sizes[-1])
        shares = [share_cell(1 - error) for error in (found.error, found.high, found.low)]
        rows.append([count_cell(int(found.labels)), *shares, Cell("forecast")])
    return ReportTable("forecast", "Learning curve", "", columns, rows, lower=len(forecast.sizes))
