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
"""From this many runs on, a second process reads predictions faster."""


@dataclass(frozen=True)
class Evidence:
    """A summary of the predictions of one run on N test images."""

    per_image: NDArray[Any]
    """(N,) the score of each image: right or wrong, an error, or its part in a metric that is no mean."""
    images: str
    """A digest of names and targets of the test images, in their order."""
    content: str
    """A digest of the contents of the test images; empty if run.json has none."""
    shared: int
    """The number of test images that are also validation images; it should be 0."""
    classes: tuple[str, ...]
    """Empty if targets are not classes."""
    scores: FurtherScores

    @property
    def numbers(self) -> Mapping[str, float]:
        """Return the scores beyond the primary metric by name."""
        return self.scores.numbers

    def same_test(self, other: Evidence) -> bool:
        """Return whether both were tested on the same images, as far as known."""
        known = self.content and other.content
        return self.images == other.images and (not known or self.content == other.content)


def gather(runs: Sequence[Run]) -> tuple[dict[str, Evidence], list[Problem]]:
    """Return the evidence of each run by its id, and the runs without evidence, with the reason."""
    import pandas as pd  # noqa: F401  # before processes are forked, so that they need not load it

    found: dict[str, Evidence] = {}
    problems = []
    read = (
        [_try(run) for run in runs]
        if len(runs) < MANY
        else shared(lambda n: _try(runs[n]), len(runs), "reading predictions", "runs", chunk=8)
    )
    wrong: dict[str, set[tuple[str, str]]] = {}
    for task in {run.task for run in runs}:  # targets may come from the task, not from the data set
        of_task = [result for run, result in zip(runs, read, strict=True) if run.task == task]
        wrong[task] = _contradicting([result for result in of_task if isinstance(result, Evidence)])
    for run, result in zip(runs, read, strict=True):
        if isinstance(result, Evidence) and (result.content, result.images) in wrong[run.task]:
            result = "predictions.csv lists other images than other runs on the same test set"
        if isinstance(result, Evidence):
            found[run.id] = result
        else:
            reason = f"{result}, so only its {run.metric.words} is compared"
            problems.append(Problem(run.directory, "finished", reason, counted=True, id=run.id))
    return found, problems


def _contradicting(found: Sequence[Evidence]) -> set[tuple[str, str]]:
    """Return the lists of test images that contradict most runs with the same content and number of images.

    If no list is the most frequent one, all of them are returned.
    """
    lists: dict[tuple[str, int], Counter[str]] = {}
    for one in found:
        if one.content:
            lists.setdefault((one.content, len(one.per_image)), Counter())[one.images] += 1
    wrong = set()
    for (content, _), counts in lists.items():
        (right, most), *others = counts.most_common()
        tied = any(count == most for _, count in others)
        wrong |= {(content, images) for images in counts if others and (tied or images != right)}
    return wrong


def _try(run: Run) -> Evidence | str:
    try:
        return read_evidence(run)
    except DataError as error:
        return str(error)


def read_evidence(run: Run) -> Evidence:
    """Read the predictions of a run. Raises DataError when they are missing or damaged, or contradict run.json."""
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
        shared=_shared_images(run, test, validation),
        classes=tuple(getattr(test, "classes", ())),
        scores=kind.further(test, validation),
    )


def _shared_images(run: Run, test: Predictions, validation: Predictions | None) -> int:
    """Return the number of test images that are also validation images."""
    fingerprints = run.fingerprints
    if "test" in fingerprints and fingerprints.get("validation") == fingerprints["test"]:
        return len(test.ids)
    return len(set(test.ids) & set(validation.ids)) if validation is not None else 0
