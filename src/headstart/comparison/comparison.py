"""Compare two groups: which is better, by how much, and whether the difference is significant."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from headstart.comparison.mean_score import overlap_of
from headstart.comparison.panels import Panel
from headstart.comparison.table import RunGroup
from headstart.comparison.verdict import verdict
from headstart.errors import ConfigError, nearest
from headstart.kinds.metric import Wording
from headstart.progress import counted
from headstart.records.runs import Run
from headstart.statistics import PairedDifference, bonferroni, paired_both, paired_runs, sample_needed

ALPHA = 0.05


class Answers(Protocol):
    """The scores of one run on its test images."""

    @property
    def per_image(self) -> NDArray[Any]:
        """Return the score of each image (N,), in the unit of the metric: right or wrong, a share, or an error."""

    def same_test(self, other: Self) -> bool:
        """Return whether both have the same test images."""


def test_score(run: Run) -> float:
    """Return the primary metric on test, as run.json has it."""
    return run.test


test_score.__test__ = False  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Comparison:
    """Group ``a`` against group ``b`` of one panel, on their paired runs; ``a`` has the better mean.

    ``result`` is a - b in the unit of the metric, so it is below zero where lower is better.

    The intervals of ``result`` are simultaneous: with 95 % confidence, those of all comparisons in the panel hold. One
    excludes zero if and only if ``p_adjusted`` is below 5 %.
    """

    panel: str
    a: str
    b: str
    result: PairedDifference
    p_adjusted: float
    verdict: str

    @property
    def significant(self) -> bool:
        """Return whether the corrected p-value is below 0.05."""
        return bool(self.p_adjusted < ALPHA)


def compare(
    panel: Panel,
    evidence: Mapping[str, Answers],
    baseline: str | None = None,
    score: Callable[[Run], float] = test_score,
) -> list[Comparison]:
    """Return the comparison of every pair of a panel's groups, or of the baseline with each other group.

    p-values and intervals are corrected for the number of comparisons (Bonferroni). Groups without paired runs (same
    seed, streams and fold) are not compared. The better of two comes first. ``score`` is compared where scores of
    single images cannot be. Empty if the panel lacks the baseline.
    """
    groups = list(panel.groups)
    if baseline is None:
        pairs = list(combinations(groups, 2))
    else:
        known = {group.label: group for group in groups}
        if baseline not in known:
            return []
        pairs = [(known[baseline], group) for group in groups if group.label != baseline]
    results = [(a, b, difference(a, b, evidence, score)) for a, b in counted(pairs, "comparing", len(pairs), "pairs")]
    metric = panel.metric
    wording = metric.wording if panel.kind.right_or_wrong else replace(metric.wording, alike=Wording.alike)
    ordered = [
        (a, b, r) if metric.gain(r.difference) >= 0 else (b, a, r.negated) for a, b, r in results if r is not None
    ]
    corrected = bonferroni(np.array([result.p_value for _, _, result in ordered]))
    largest_difference = metric.bounds[1] - metric.bounds[0]
    alpha = ALPHA / max(1, int(np.sum(~np.isnan(corrected))))
    comparisons = []
    for (a, b, pointwise), p_adjusted in zip(ordered, corrected, strict=True):
        result = pointwise.at(1 - alpha).within(largest_difference)
        needed = sample_needed(result, alpha=alpha)
        gained = result if metric.higher_is_better else result.negated
        text = verdict(a.spoken, b.spoken, gained, float(p_adjusted), needed, _paired_units(a), wording=wording)
        comparisons.append(Comparison(panel.title, a.label, b.label, result, float(p_adjusted), text))
    return comparisons


def check_baseline(panels: Sequence[Panel], baseline: str | None) -> None:
    """Raise ConfigError for a baseline that is in no panel."""
    labels = sorted({group.label for panel in panels for group in panel.groups})
    if baseline is not None and baseline not in labels:
        raise ConfigError(f"--baseline {baseline}: there is no such row.{nearest(baseline, labels)}")


def difference(
    a: RunGroup, b: RunGroup, evidence: Mapping[str, Answers], score: Callable[[Run], float] = test_score
) -> PairedDifference | None:
    """Return ``a`` minus ``b`` on the paired runs; None if there are none.

    Runs on one test set: seeds and images are both samples. Folds or redrawn test sets: the corrected resampled
    t-test over their scores.
    """
    first, second = paired(a.runs), paired(b.runs)
    shared = [pair for pair in first if pair in second]
    if not shared:
        return None
    overlap = overlap_of([run for pair in shared for run in first[pair]])
    if overlap is None and (scores := _image_scores(first, second, shared, evidence)) is not None:
        return paired_both(*scores)
    mine, theirs = (np.array([np.mean([score(r) for r in runs[pair]]) for pair in shared]) for runs in (first, second))
    return paired_runs(mine, theirs, overlap=overlap)


def paired(runs: Sequence[Run]) -> dict[tuple[Any, ...], list[Run]]:
    """Return runs by the key of their pair; a key may have several runs."""
    found: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        found.setdefault(run.pair, []).append(run)
    return found


def _image_scores(
    first: Mapping[tuple[Any, ...], list[Run]],
    second: Mapping[tuple[Any, ...], list[Run]],
    shared: Sequence[tuple[Any, ...]],
    evidence: Mapping[str, Answers],
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return scores (pairs, images) of both sides; None unless all runs have them for the same two or more images."""
    runs = [run for pair in shared for run in (*first[pair], *second[pair])]
    if any(run.id not in evidence for run in runs):
        return None
    if any(not evidence[run.id].same_test(evidence[runs[0].id]) for run in runs):
        return None
    if len(evidence[runs[0].id].per_image) < 2:  # one image shows no variance over images
        return None
    a, b = (
        np.stack([np.mean([evidence[run.id].per_image for run in runs_of[pair]], axis=0) for pair in shared])
        for runs_of in (first, second)
    )
    return a, b


def _paired_units(group: RunGroup) -> str:
    """Return the name of the paired units: seeds, folds or both."""
    folds, seeds = ({getattr(run, name) for run in group.runs} for name in ("fold", "seed"))
    if len(folds) > 1:
        return "folds" if len(seeds) == 1 else "folds and seeds"
    splits = {run.config.get("seeds.split") for run in group.runs}
    return "splits" if len(splits) > 1 and len(seeds) == 1 else "seeds"
