"""What the predictions of runs show: which test images were right, and scores beyond accuracy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.comparison.predictions import Predictions, read_predictions
from headstart.comparison.processes import shared
from headstart.comparison.scores import Scores, test_scores
from headstart.errors import DataError
from headstart.records.names import TEST_PREDICTIONS, VALIDATION_PREDICTIONS
from headstart.records.runs import Problem, Run

MANY = 40
"""From here on, reading predictions is worth a second process."""


@dataclass(frozen=True)
class Evidence:
    """The predictions of one run on N test images, boiled down."""

    correct: NDArray[np.bool_]  # (N,)
    images: str
    """A digest of names and targets of the test images, in their order."""
    content: str
    """A digest of what is in them; empty where run.json does not say."""
    shared: int
    """Test images that validated, too: there should be none."""
    classes: tuple[str, ...]
    scores: Scores

    @property
    def numbers(self) -> dict[str, float]:
        """The scores beyond accuracy by name; those of temperature scaling only where validation predictions are."""
        scores = self.scores
        numbers = {"balanced_accuracy": scores.balanced_accuracy, "macro_f1": scores.macro_f1, **vars(scores.unscaled)}
        if scores.scaled is not None and scores.temperature is not None:
            numbers["temperature"] = scores.temperature
            numbers |= {f"scaled_{name}": value for name, value in vars(scores.scaled).items()}
        return numbers

    def same_test(self, other: Evidence) -> bool:
        """Whether both were tested on the same images, as far as it is known."""
        known = self.content and other.content
        return self.images == other.images and (not known or self.content == other.content)


def gather(runs: Sequence[Run]) -> tuple[dict[str, Evidence], list[Problem]]:
    """The evidence of each run by its id, and the runs that have none, with the reason."""
    import pandas as pd  # noqa: F401  # before processes are forked, so that each need not load it

    found: dict[str, Evidence] = {}
    problems = []
    one_by_one = len(runs) < MANY
    judged = (
        [_try(run) for run in runs]
        if one_by_one
        else shared(lambda n: _try(runs[n]), len(runs), "reading predictions", "runs", chunk=8)
    )
    odd = _odd([result for result in judged if isinstance(result, Evidence)])
    for run, result in zip(runs, judged, strict=True):
        if isinstance(result, Evidence) and (result.content, result.images) in odd:
            result = "predictions.csv lists other images than another run that was tested on the same ones"
        if isinstance(result, Evidence):
            found[run.id] = result
        else:
            reason = f"{result}, so it is compared by its accuracy alone"
            problems.append(Problem(run.directory, "finished", reason, counted=True, id=run.id))
    return found, problems


def _odd(found: Sequence[Evidence]) -> set[tuple[str, str]]:
    """Return which lists of test images contradict others of as many images with the same content: all but one.

    Which of them is right, most runs decide; where as many have one as another, none is.
    """
    lists: dict[tuple[str, int], Counter[str]] = {}
    for one in found:
        if one.content:
            lists.setdefault((one.content, len(one.correct)), Counter())[one.images] += 1
    odd = set()
    for (content, _), counts in lists.items():
        (right, most), *others = counts.most_common()
        tied = any(count == most for _, count in others)
        odd |= {(content, images) for images in counts if others and (tied or images != right)}
    return odd


def _try(run: Run) -> Evidence | str:
    try:
        return judge(run)
    except DataError as error:
        return str(error)


def judge(run: Run) -> Evidence:
    """Read the predictions of a run. Raises DataError when they are missing, damaged or belie run.json."""
    test = read_predictions(run.directory / TEST_PREDICTIONS)
    accuracy = float(test.correct.mean())
    told = run.metrics["test/accuracy"]
    if abs(accuracy - told) > 1e-4:
        raise DataError(f"predictions.csv has {100 * accuracy:.2f} % right, run.json says {100 * told:.2f} %")
    validation: Predictions | None = None
    if (run.directory / VALIDATION_PREDICTIONS).is_file():
        validation = read_predictions(run.directory / VALIDATION_PREDICTIONS)
    return Evidence(
        correct=test.correct,
        images=test.images,
        content=run.fingerprints.get("test", ""),
        shared=_shared(run, test, validation),
        classes=tuple(test.classes),
        scores=test_scores(test, validation),
    )


def _shared(run: Run, test: Predictions, validation: Predictions | None) -> int:
    fingerprints = run.fingerprints
    if "test" in fingerprints and fingerprints.get("validation") == fingerprints["test"]:
        return len(test.ids)
    return len(set(test.ids) & set(validation.ids)) if validation is not None else 0
