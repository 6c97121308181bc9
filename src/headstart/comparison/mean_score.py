"""Compute the 95 % interval of a group's mean on test; both its runs and its test images are samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from headstart.comparison.evidence import Evidence
from headstart.comparison.table import RunGroup
from headstart.records.runs import Run
from headstart.statistics import Interval, accuracy_interval, mean_interval, score_interval


def with_interval(group: RunGroup, evidence: Mapping[str, Evidence]) -> RunGroup:
    """Return the group with the bounds of its mean on test; unchanged if its images are unknown."""
    if not group.test.count:
        return group
    found = _interval(group, evidence)
    bounds = (found.low, found.high)
    if not group.kind.right_or_wrong:
        bounds = (group.metric.clipped(found.low), group.metric.clipped(found.high))
    return replace(group, test=replace(group.test, bounds=bounds))


def _interval(group: RunGroup, evidence: Mapping[str, Evidence]) -> Interval:
    known = [evidence[run.id] for run in group.runs if run.id in evidence and not group.reference]
    if len(known) == group.test.count and all(one.same_test(known[0]) for one in known):
        interval = accuracy_interval if group.kind.right_or_wrong else mean_interval
        return interval(np.stack([one.per_image for one in known]))
    one_set = len({test_set(run) for run in group.runs}) == 1
    overlap = None if one_set else overlap_of(group.runs) or 0.0
    images = _images(group.runs) if group.kind.right_or_wrong else None  # else the variance over images is unknown
    return score_interval(group.test.mean, group.test.deviation, group.test.count, images, overlap)


def _images(runs: Sequence[Run]) -> int | None:
    """Return the number of test images of all folds of one split; None if run.json does not record it."""
    splits: dict[object, dict[object, int]] = {}
    for run in runs:
        if size := test_images(run):
            splits.setdefault(run.config.get("seeds.split"), {})[test_set(run)] = size
    return max((sum(sizes.values()) for sizes in splits.values()), default=None)


def test_set(run: Run) -> tuple[object, ...]:
    """Return an identifier of a run's test set: the digest of its contents, or else the settings that drew it."""
    content = run.fingerprints.get("test")
    return (content,) if content else (run.fold, run.config.get("seeds.split"))


test_set.__test__ = False  # type: ignore[attr-defined]


def test_images(run: Run) -> int | None:
    """Return the number of a run's test images; None if run.json does not record it."""
    counts = run.get("pictures")
    count = counts.get("test") if isinstance(counts, dict) else None
    return count if isinstance(count, int) and count > 0 else None


test_images.__test__ = False  # type: ignore[attr-defined]


def overlap_of(runs: Sequence[Run]) -> float | None:
    """Return the ratio of test to training images if training sets overlap; None for one test set."""
    drawn = {(run.fold, run.config.get("seeds.split")) for run in runs}
    counts = [run.get("pictures") for run in runs]
    known = [count for count in counts if isinstance(count, dict) and count.get("train") and count.get("test")]
    if len(drawn) < 2 or len({test_set(run) for run in runs}) < 2 or not known:
        return None
    return float(np.mean([count["test"] / (count["train"] + count.get("validation", 0)) for count in known]))
