"""Split variance by source: the effect of each random stream alone, and of all streams together."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from headstart.statistics.arrays import Floats, finite


@dataclass(frozen=True)
class VarianceSource:
    """The standard deviation of the scores, in their unit, when one stream varies and all others are fixed."""

    deviation: float
    share: float
    """Its variance as a fraction of the sum over all streams found; NaN if that sum is 0."""
    sets: int
    """Sets of runs that are equal in all other streams."""
    runs: int
    """Runs in these sets; a repeated run counts once."""


@dataclass(frozen=True)
class VarianceSources:
    """The streams that were varied alone, strongest first, and runs in which all streams varied."""

    streams: Mapping[str, VarianceSource]
    everything: VarianceSource | None
    """Its share is of the same sum; it is near 1 if the streams act independently and none is missing."""


def variance_sources(scores: ArrayLike, settings: Mapping[str, Sequence[Hashable]]) -> VarianceSources:
    """Split the variance of scores (R,) by source, given each stream's values (stream name -> R values).

    For each stream, runs that differ only in this stream form sets, and the sets' variances are pooled: Σ squares / Σ
    (runs - 1). Runs that are equal in every stream are averaged first. Streams never varied alone are left out. Runs
    that differ pairwise in all varying streams give the deviation of everything at once. Source: Bouthillier et al.
    2021, Accounting for variance in machine learning benchmarks, arXiv:2103.03098. Raises ValueError if a stream does
    not have one value per score, and for NaN or infinity.
    """
    numbers = finite(scores, "The scores", 1)
    for name, values in settings.items():
        if len(values) != len(numbers):
            raise ValueError(f"The stream '{name}' has {len(values)} values for {len(numbers)} scores.")
    if not settings:
        return VarianceSources({}, None)
    means = _averaged(numbers, list(zip(*settings.values(), strict=True)))
    sets = {name: _sets(means, place) for place, name in enumerate(settings)}
    variances = {name: _pooled([_scores(means, runs) for runs in found]) for name, found in sets.items() if found}
    total = math.fsum(variances.values())
    streams = {
        name: _source(variance, total, sets[name])
        for name, variance in sorted(variances.items(), key=lambda item: -item[1])
    }
    alone = {run for found in sets.values() for runs in found for run in runs}
    together = _all_different(means, alone)
    everything = _source(_pooled([_scores(means, together)]), total, [together]) if together else None
    return VarianceSources(streams, everything)


Setting = tuple[Hashable, ...]


def _averaged(scores: Floats, settings: list[Setting]) -> dict[Setting, float]:
    """Return the mean score of each combination of stream values, in order of first appearance."""
    found: dict[Setting, list[float]] = {}
    for score, setting in zip(scores, settings, strict=True):
        found.setdefault(setting, []).append(float(score))
    return {setting: math.fsum(values) / len(values) for setting, values in found.items()}


def _sets(means: Mapping[Setting, float], place: int) -> list[list[Setting]]:
    """Return sets of two or more combinations that differ only at this place."""
    found: dict[Setting, list[Setting]] = {}
    for setting in means:
        found.setdefault(setting[:place] + setting[place + 1 :], []).append(setting)
    return [runs for runs in found.values() if len(runs) > 1]


def _all_different(means: Mapping[Setting, float], alone: set[Setting]) -> list[Setting]:
    """Return combinations that differ pairwise in every varying stream; none if fewer than two streams vary.

    Runs outside the sets in which one stream varies alone are tried first, as they were made for this.
    """
    columns = list(zip(*means, strict=True))
    varying = [place for place, values in enumerate(columns) if len(set(values)) > 1]
    if len(varying) < 2:
        return []
    chosen: list[Setting] = []
    for setting in sorted(means, key=lambda setting: setting in alone):
        if all(setting[place] != other[place] for other in chosen for place in varying):
            chosen.append(setting)
    return chosen if len(chosen) > 1 else []


def _scores(means: Mapping[Setting, float], runs: Sequence[Setting]) -> Floats:
    return np.array([means[run] for run in runs])


def _pooled(sets: Sequence[Floats]) -> float:
    squares = math.fsum(float(((scores - scores.mean()) ** 2).sum()) for scores in sets)
    return squares / sum(len(scores) - 1 for scores in sets)


def _source(variance: float, total: float, sets: Sequence[Sequence[Setting]]) -> VarianceSource:
    share = variance / total if total else math.nan
    return VarianceSource(math.sqrt(variance), share, len(sets), sum(len(runs) for runs in sets))
