"""Read from predictions a score for each test image, and scores beyond the primary metric."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from headstart.comparison.processes import shared
from headstart.errors import DataError
from headstart.kinds import Predictions
from headstart.kinds.kind import FurtherScores
from headstart.records.names import TEST_PREDICTIONS, VALIDATION_PREDICTIONS
from headstart.records.predictions import read_predictions
from headstart.records.runs import Problem, Run

MANY = 40
"""From here on, reading predictions is worth a second process."""


@dataclass(frozen=True)
class Evidence:
    """A summary of the predictions of one run on N test images."""

    per_image: NDArray[Any]
    """(N,) the score of each image: right or wrong, an error, or its part in a metric that is no mean."""
    images: str
    """A digest of names and targets of the test images, in their order."""
    content: str
    """A digest of what is in them; empty where run.json does not say."""
    shared: int
    """The number of test images that are also validation images; it should be 0."""
    classes: tuple[str, ...]
    """Empty if targets are no classes."""
    scores: FurtherScores

    @property
    def numbers(self) -> Mapping[str, float]:
        """The scores beyond the primary metric by name."""
        return self.scores.numbers

    def same_test(self, other: Evidence) -> bool:
        """Return whether both were tested on the same images, as far as known."""
        known = self.content and other.content
        return self.images == other.images and (not known or self.content == other.content)


def gather(runs: Sequence[Run]) -> tuple[dict[str, Evidence], list[Problem]]:
    """Return the evidence of each run by its id, and the runs without evidence, with the reason."""
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
            reason = f"{result}, so it is compared by its {run.metric.words} alone"
            problems.append(Problem(run.directory, "finished", reason, counted=True, id=run.id))
    return found, problems


def _odd(found: Sequence[Evidence]) -> set[tuple[str, str]]:
    """Return which lists of test images contradict others of as many images with the same content: all but one.

    Which of them is right, most runs decide; where as many have one as another, none is.
    """
    lists: dict[tuple[str, int], Counter[str]] = {}
    for one in found:
        if one.content:
            lists.setdefault((one.content, len(one.per_image)), Counter())[one.images] += 1
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
    kind, metric = run.kind, run.metric
    test = read_predictions(run.directory / TEST_PREDICTIONS, kind)
    per_image = kind.per_image(test, metric.name)
    if per_image is None:
        raise DataError(f"predictions.csv gives no {metric.words} for single images")
    found = float(per_image.mean())
    if not metric.agrees(found, run.test):
        has = f"{metric.exact(found)} right" if kind.right_or_wrong else f"a {metric.words} of {metric.exact(found)}"
        raise DataError(f"predictions.csv has {has}, run.json says {metric.exact(run.test)}")
    validation: Predictions | None = None
    if (run.directory / VALIDATION_PREDICTIONS).is_file():
        validation = read_predictions(run.directory / VALIDATION_PREDICTIONS, kind)
    return Evidence(
        per_image=per_image,
        images=test.images,
        content=run.fingerprints.get("test", ""),
        shared=_shared(run, test, validation),
        classes=tuple(getattr(test, "classes", ())),
        scores=kind.further(test, validation),
    )


def _shared(run: Run, test: Predictions, validation: Predictions | None) -> int:
    fingerprints = run.fingerprints
    if "test" in fingerprints and fingerprints.get("validation") == fingerprints["test"]:
        return len(test.ids)
    return len(set(test.ids) & set(validation.ids)) if validation is not None else 0
