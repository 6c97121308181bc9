"""Compare the repeat of a run with its original: bit-equal, within the interval, or different."""

import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headstart.comparison.diff import compare_predictions, pairs_text, same_bytes
from headstart.errors import DataError
from headstart.kinds import kind_of, metric_of
from headstart.records.names import TEST_PREDICTIONS
from headstart.records.predictions import read_predictions
from headstart.records.record import RunRecord
from headstart.records.runs import Run, read_run
from headstart.settings.effects import is_indifferent, is_seed

BIT_EQUAL, WITHIN, DIFFERENT = "bit-equal", "within the interval", "different"
SAME, OTHER = 0, 1  # exit codes
THEN_NOW = ("then", "now")
ROUNDING = 1e-5  # early runs have single-precision metrics in run.json


@dataclass(frozen=True)
class Verdict:
    """One of the three verdicts and its reasons, one sentence each."""

    word: str
    reasons: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """Return 0 if the run was reproduced, else 1."""
        return OTHER if self.word == DIFFERENT else SAME


def verdict(original: RunRecord, repeated: RunRecord) -> Verdict:
    """Compare a repeat with its original and return the verdict.

    ``bit-equal``: all metrics are equal, and predictions.csv byte by byte. ``within the interval``: not bit-equal, but
    the 95 % interval of the difference in the primary metric on test, paired over test images, includes 0.
    ``different``: otherwise, also if the data differ or a run contradicts itself.
    """
    data = [record.get("provenance", "dataset_fingerprint") for record in (original, repeated)]
    figures = [_figures(original, repeated)]
    if all(data) and data[0] != data[1]:
        return Verdict(DIFFERENT, ("The data are not the same, so the results may differ.", *figures))
    then, now = (record.directory / TEST_PREDICTIONS for record in (original, repeated))
    if original.metrics == repeated.metrics and same_bytes(then, now):
        return Verdict(BIT_EQUAL, ("Every metric and every prediction is equal to the last bit.", *figures))
    try:
        for record in (original, repeated):
            _check_agreement(record)
        metric = metric_of(original.content)
        pairs = compare_predictions(then, now, kind_of(original.content), metric)
    except DataError as error:
        return Verdict(DIFFERENT, (f"The test images cannot be compared one by one: {error}.", *figures))
    low, high = pairs.interval
    return Verdict(WITHIN if low <= 0 <= high else DIFFERENT, (*figures, pairs_text(pairs, metric, THEN_NOW)))


def _check_agreement(record: RunRecord) -> None:
    """Raise DataError if run.json and predictions.csv give different values of the primary metric on test."""
    kind, metric = kind_of(record.content), metric_of(record.content)
    scores = kind.per_image(read_predictions(record.directory / TEST_PREDICTIONS, kind), metric.name)
    counted = math.nan if scores is None else float(scores.mean())
    stated = _score_of(record)
    if not metric.agrees(counted, stated, ROUNDING):
        raise DataError(
            f"in '{record.directory}' run.json has a test {metric.words} of {metric.exact(stated)}, but predictions.csv"
            f" gives {metric.exact(counted)}"
        )


def _score_of(record: RunRecord) -> float:
    """Return the primary metric on test. Raises DataError where run.json does not say."""
    name = f"test/{metric_of(record.content).name}"
    if name not in record.metrics:
        raise DataError(f"run.json has no {name}")
    return record.metrics[name]


def _figures(original: RunRecord, repeated: RunRecord) -> str:
    then, now, metric = _score_of(original), _score_of(repeated), metric_of(original.content)
    what = f"Test {metric.words}"
    if then == now:
        return f"{what}: {metric.exact(then)}, then and now."
    return f"{what}: {metric.exact(then)} then, {metric.exact(now)} now, {metric.exact_difference(now - then)}."


def seed_lines(original: RunRecord, repeated: RunRecord) -> list[str]:
    """Return a line on the variation over seeds, from runs beside the original that differ only in their seeds."""
    metric = metric_of(original.content)
    scores = [_score_of(record) for record in (original, *other_seeds(original))]
    if len(scores) < 2:
        return []
    mean, deviation = statistics.fmean(scores), statistics.stdev(scores)
    line = f"Over {len(scores)} seeds, including the original's: {metric.exact_pair(mean, deviation)}"
    difference = _score_of(repeated) - _score_of(original)
    if difference and deviation:
        line += f"; the difference is {abs(difference) / deviation:.2g} of this standard deviation"
    return [f"{line}."]


def other_seeds(original: RunRecord) -> list[RunRecord]:
    """Return finished runs in the same folder that differ from the original only in their seeds, one per seed."""
    home = original.directory.resolve()
    wanted = _settings(original.config)
    found: dict[str, RunRecord] = {_seeds(original.config): original}
    for folder in sorted(home.parent.iterdir()):
        record = read_run(folder)
        if folder == home or not isinstance(record, Run) or record.is_repeat:
            continue
        same_metric = record.task == original.task
        if same_metric and _settings(record.config) == wanted:
            found.setdefault(_seeds(record.config), record)
    return list(found.values())[1:]


def _settings(config: Mapping[str, Any]) -> str:
    """Return the settings other than seeds that determine a result, as text."""
    kept = [(key, value) for key, value in config.items() if not is_seed(key) and not is_indifferent(key)]
    augmentations = [key for key, _ in kept if key.startswith("augmentation")]  # their order matters
    return json.dumps([sorted(kept, key=lambda pair: pair[0]), augmentations], default=str)


def _seeds(config: Mapping[str, Any]) -> str:
    return json.dumps(sorted((key, value) for key, value in config.items() if is_seed(key)), default=str)
