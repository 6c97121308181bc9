"""Advise which backbone, stage and strategy to use for a data set, and what more labels would bring."""

import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from headstart.advice.asked import AskedBackbone, without_training
from headstart.advice.candidates import (
    SOLVERS,
    ScoredCandidate,
    SolvedCandidate,
    SolvedStages,
    advised,
    folds_for,
    in_order,
    lead_over,
    solved_of,
    try_stages,
)
from headstart.advice.forecasting import ENOUGH, AccuracyForecast, forecast_accuracy
from headstart.advice.reading import ImagesToMeasure, StageReader, read_data_set
from headstart.advice.similarity_tables import number_cell, without_nan
from headstart.advice.trained import try_trained
from headstart.advice.training_time import estimate_time
from headstart.console import errors_only, show_log
from headstart.errors import DataError, HeadstartError
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
SHOWN = 10  # candidates in the terminal, and the trained ones below them
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
    candidates: Sequence[ScoredCandidate]
    chosen: ScoredCandidate
    expected: Interval
    """Of the chosen candidate, corrected for the choice; accuracies are fractions of 1."""
    labels: int
    """Training images of the smallest class."""
    forecast: AccuracyForecast | None
    """Of ``solved``; None with too few labels."""
    time_to_train: str = ""
    """A sentence on the time that training would take, if no candidate is trained."""

    @property
    def solves(self) -> bool:
        """Return whether the head of the chosen candidate is computed from features."""
        return isinstance(self.chosen, SolvedCandidate)

    @property
    def solved(self) -> ScoredCandidate:
        """Return the candidate that would be chosen if none was trained."""
        return advised(solved_of(self.candidates))

    @property
    def trained(self) -> list[ScoredCandidate]:
        """Return the trained candidates, best first."""
        return [one for one in self.candidates if not isinstance(one, SolvedCandidate)]

    def write(self, folder: Path) -> None:
        """Write advice.json, candidates.csv and forecast.csv to a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "candidates.csv", csv_table(candidates_table(self.candidates)))
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
            "trained": [
                {"settings": one.settings, "accuracy": one.accuracy, "seconds": one.seconds} for one in self.trained
            ],
            "labels_per_class": self.labels,
            "forecast_settings": self.solved.settings,
            "forecast": None
            if self.forecast is None
            else [
                {"labels_per_class": one.labels, "accuracy": 1 - one.error, "low": 1 - one.high, "high": 1 - one.low}
                for one in (self.forecast.at(factor * self.labels) for factor in MORE)
            ],
        }


def run_advice(asked: Sequence[AskedBackbone], given: Sequence[str], trains: bool) -> Advice:
    """Try every solved strategy at every stage of each backbone, print the advice, and return it.

    With ``trains``, also train the strategies asked for, with the backbone of the best solved candidate; without it,
    estimate how long that would take. ``given`` are the settings that all share, as they were typed. Raises DataError
    for a target without one class for each image, or with fewer than five validation images.
    """
    settle_process()
    solved: dict[str, SolvedStages] = {}
    target: ImagesToMeasure | None = None
    with show_log(), errors_only("headstart.solvers"):
        for one in asked:
            config = OmegaConf.create(run_settings(one.solved))
            backbone = compose.make_backbone(config)
            target = read_data_set(config, backbone)
            if target.validation is None:
                raise DataError(f"{target.name} has no classes: advise compares accuracies.")
            if len(target.validation) < LEAST:
                raise DataError(f"{target.name} has {len(target.validation)} validation images: advise needs {LEAST}.")
            solved[one.name] = try_stages(StageReader(config, backbone, target.signature), target, one.name)
        assert target is not None
        assert target.validation is not None
        candidates = in_order([one for stages in solved.values() for one in stages.candidates])
        best = advised(candidates)
        stages, folds = solved[best.backbone], folds_for(target)
        forecast = forecast_accuracy(SOLVERS[best.strategy], *stages.features[best.stage], stages.task)
        labels = int(stages.features[best.stage][0].targets.bincount(minlength=stages.task.num_classes).min())
        (training,) = (one.trained for one in asked if one.name == best.backbone)
        time_to_train = ""
        if trains:
            (last,) = {one.stage for one in stages.candidates if not one.read}
            trained = [try_trained(best.backbone, last, *one, folds) for one in training.items()]
            candidates = in_order([*candidates, *trained])
        else:
            ((strategy, settings),) = training.items()
            time_to_train = _time_to_train(strategy, settings, folds)
    chosen = advised(candidates)
    expected = expected_accuracy(candidates, chosen)
    scored = len(chosen.correct)
    advice = Advice(
        target.name, len(target.train), scored, folds, candidates, chosen, expected, labels, forecast, time_to_train
    )
    print("\n" + "\n\n".join(paragraphs(advice, given)), flush=True)
    return advice


def _time_to_train(strategy: str, settings: DictConfig, folds: int) -> str:
    """Return a sentence on the time that training a strategy would take, and how to ask for it."""
    try:
        found = estimate_time(strategy, settings)
    except HeadstartError as error:
        return f"{strategy} was not compared and cannot be trained with these settings: {error}"
    in_folds = f" ({_about(folds * found.seconds)} for {folds} folds)" if folds > 1 else ""
    return (
        f"Strategies that train the backbone were not compared; add trained=[{strategy}] for that.\n"
        f"{strategy} would train for about {_about(found.seconds)}{in_folds}, in {found.epochs} epochs of"
        f" {found.steps} steps of {found.seconds_a_step:.2g} s: measured on one step of {found.images} images."
    )


def _about(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def expected_accuracy(candidates: Sequence[ScoredCandidate], chosen: ScoredCandidate) -> Interval:
    """Return the accuracy of the best candidate, corrected for the choice, less its lead over the chosen one."""
    best, lead = best_of([one.correct for one in candidates], LEVEL), candidates[0].accuracy - chosen.accuracy
    return Interval(best.mean - lead, max(0.0, best.low - lead), best.high - lead, LEVEL)


def paragraphs(advice: Advice, given: Sequence[str]) -> Iterator[str]:
    """Yield the advice in words and tables."""
    chosen, solved, expected = advice.chosen, advice.solved, advice.expected
    settings = without_training(given) if advice.solves else given
    settings = [one for one in settings if not one.startswith("backbone=")]
    yield f"headstart train {shlex.join([*settings, *chosen.settings])}"
    yield (
        f"Expect an accuracy of {100 * expected.mean:.1f} % ({100 * expected.low:.1f} to {100 * expected.high:.1f},"
        f" {100 * LEVEL:.0f} % interval), after {chosen.seconds:.0f} s"
        f" {'for features and fit' if advice.solves else 'of training'}.\n"
        f"It is corrected for choosing the best of {len(advice.candidates)} on {advice.held_out_images} images,"
        f" {'those of validation' if advice.folds == 1 else f'held out in {advice.folds} folds'}."
    )
    if advice.trained:
        yield worth_of_training(advice)
    best = solved_of(advice.candidates)[0]
    if chosen is not best and advice.solves:
        yield (
            f"{best.stage} alone is {100 * (best.accuracy - chosen.accuracy):.1f} points better: within one standard"
            " error, so all stages are joined."
        )
    first, others = advice.candidates[:SHOWN], advice.candidates[SHOWN:]
    shown = [*first, *(one for one in others if not isinstance(one, SolvedCandidate))]
    yield text_table(candidates_table([*shown, *solved_of(others)]).first(len(shown)))
    if advice.time_to_train:
        yield advice.time_to_train
    if advice.forecast is None:
        yield (f"A forecast needs {ENOUGH} labels in each class or more, and the smallest class has {advice.labels}.")
        return
    if chosen is not solved:
        yield f"The forecast is for {solved.strategy} on {solved.stage}, as it needs many fits."
    yield text_table(forecast_table(advice.forecast))
    for factor in MORE:
        yield more_labels(advice, factor)


def worth_of_training(advice: Advice) -> str:
    """Return a sentence that compares the best trained candidate with the solved one that would be chosen."""
    trained, solved = advice.trained[0], advice.chosen if advice.solves else advice.solved
    lead, error = lead_over(trained, solved)
    close = " That is within one standard error, so the shorter way is advised." if advice.solves and lead > 0 else ""
    return (
        f"{trained.strategy} is {100 * abs(lead):.1f} points {'better' if lead > 0 else 'worse'} than {solved.strategy}"
        f" on {solved.stage} (standard error {100 * error:.1f}), and takes {trained.seconds:.0f} s in place of"
        f" {solved.seconds:.0f} s.{close}"
    )


def more_labels(advice: Advice, factor: int) -> str:
    """Return a sentence on what ``factor`` times the labels would bring."""
    assert advice.forecast is not None
    labels = factor * advice.labels
    found = advice.forecast.at(labels)
    gain = advice.forecast.curve.gain(labels)
    now, mean, low, high = (100 * (1 - error) for error in (found.error + gain, found.error, found.high, found.low))
    return (
        f"With {labels - advice.labels} more labels a class you would gain about {100 * gain:.1f} points on the fitted"
        f" curve: from {now:.1f} to {mean:.1f} % ({low:.1f} to {high:.1f}, {100 * LEVEL:.0f} % interval)."
    )


def candidates_table(candidates: Sequence[ScoredCandidate]) -> ReportTable:
    """Return a row for each candidate."""
    columns = [
        Column("backbone", field="backbone"),
        Column("stage", field="stage"),
        Column("strategy", field="strategy"),
        Column("accuracy", "number", "On validation or held-out folds, %.", "accuracy"),
        Column("from", "number", "Lower bound of the 90 % interval.", "low"),
        Column("to", "number", "Upper bound.", "high"),
        Column("seconds", "number", "For features and fit, or for training.", "seconds"),
    ]
    rows = []
    for one in candidates:
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
