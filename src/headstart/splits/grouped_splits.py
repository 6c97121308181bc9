"""Split images and keep groups together: all images of a patient, a site or a burst are in one split."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from headstart.errors import DataError
from headstart.inputs.collection import Collection, Targets
from headstart.seeds import generator, stream
from headstart.splits.splits import Indices

MOST_PARTS = 10  # most parts used to approximate a fraction: 0.3 is three parts of ten
MOST_NAMES = 3  # most names of groups in a warning


def split_off_groups(
    targets: Targets, groups: Sequence[str], fraction: float, seed: int, class_names: list[str], what: str, keep: int
) -> tuple[Indices, Indices]:
    """Return positions that stay and positions split off; every group is in one of them.

    At least ``keep`` groups of every class stay, or all if it has fewer. The part that is split off holds as many
    classes as possible; among such parts, its fraction of the images is as near ``fraction`` as possible.

    Raises DataError if no group can be split off.
    """
    names, number = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    if len(names) < 2:
        raise DataError(
            f"All images are in group '{names[0]}'; at least 2 groups are needed to split off a {what} set."
        )
    counts = np.zeros((len(names), len(class_names)), dtype=np.int64)
    np.add.at(counts, (number, targets), 1)
    needed = np.minimum(keep, (counts > 0).sum(axis=0))
    best: tuple[tuple[int, int], Indices] | None = None
    for off in _candidates(targets, number, len(names), fraction, seed, what):
        stays = np.delete(counts, off, axis=0)
        if ((stays > 0).sum(axis=0) < needed).any():
            continue
        missing = int((counts[off].sum(axis=0) == 0).sum())
        error = abs(counts[off].sum() / len(targets) - fraction)
        score = (missing, round(8 * error / fraction))  # coarse, so that the seed decides among nearly equal candidates
        if best is None or score < best[0]:
            best = score, off
    if best is None:
        label = int(np.argmin((counts > 0).sum(axis=0)))
        raise DataError(
            f"No group can be split off for {what}: class '{class_names[label]}' has its images in"
            f" {(counts[:, label] > 0).sum()} group(s), and every class must stay in train."
        )
    inside = np.isin(number, best[1])
    return np.flatnonzero(~inside), np.flatnonzero(inside)


def grouped_fold_of(
    targets: Targets, groups: Sequence[str], folds: int, fold: int, seed: int, class_names: list[str]
) -> tuple[Indices, Indices]:
    """Return positions outside and inside one of ``folds`` parts; every group is inside exactly one part.

    Raises DataError if there are too few groups, or if a part would hold all groups of a class.
    """
    names, number = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    if len(names) < folds:
        raise DataError(f"dataset.folds={folds}: there are only {len(names)} groups; each fold needs one.")
    if (largest := int(np.bincount(targets).max())) < folds:
        raise DataError(f"dataset.folds={folds}: the largest class has only {largest} images; use fewer folds.")
    part = spread_groups(targets, number, folds, stream("group fold", seed))
    for inside in range(folds):
        if not (part == inside).any():
            raise DataError(f"dataset.folds={folds}: fold {inside} would hold no group; use fewer folds.")
        lost = np.setdiff1d(targets, targets[part != inside])
        if len(lost):
            raise DataError(
                f"dataset.folds={folds}: fold {inside} would hold all groups of class '{class_names[lost[0]]}';"
                " use another number of folds or another seeds.split."
            )
    return np.flatnonzero(part != fold), np.flatnonzero(part == fold)


def check_class_groups(targets: Targets, groups: Sequence[str], class_names: list[str], needed: int, why: str) -> None:
    """Raise DataError unless every class has ``needed`` groups; ``why`` explains the number."""
    named = np.asarray(groups, dtype=object).astype(str)
    for label, name in enumerate(class_names):
        found = np.unique(named[targets == label])
        if 0 < len(found) < needed:
            where = f"group '{found[0]}'" if len(found) == 1 else f"{len(found)} groups ({', '.join(found)})"
            raise DataError(
                f"Class '{name}' has all its images in {where}; {why}, at least {needed} groups are needed for every"
                " class."
            )


def shared_groups(splits: Mapping[str, Collection]) -> list[str]:
    """Return one sentence for each pair of splits that share groups."""
    found = []
    for (one, first), (other, second) in combinations(splits.items(), 2):
        both = sorted(set(first.groups or ()) & set(second.groups or ()))
        if both:
            named = ", ".join(both[:MOST_NAMES]) + (", ..." if len(both) > MOST_NAMES else "")
            found.append(f"{len(both)} group{'s are' if len(both) > 1 else ' is'} in {one} and {other} ({named})")
    return found


def grouped_text(what: str, off: Collection, total: int, class_names: Sequence[str]) -> str:
    """Return a phrase on a split of whole groups: its fraction of ``total`` images, its groups, its missing classes."""
    count = len(set(off.groups or ()))
    missing = [name for label, name in enumerate(class_names) if label not in off.targets]
    lacks = f", none of class {', '.join(missing)}" if missing else ""
    return f"{what}: {100 * len(off) / total:.0f} % of images in {count} group{'' if count == 1 else 's'}{lacks}"


def _candidates(
    targets: Targets, number: Indices, groups: int, fraction: float, seed: int, what: str
) -> Iterator[NDArray[np.int64]]:
    """Yield sets of groups to split off, (groups,) each: sets near the fraction first, then every single group."""
    largest = int(np.bincount(targets).max())  # scikit-learn's limit on the number of parts
    for most in dict.fromkeys(min(limit, groups, largest) for limit in (MOST_PARTS, groups)):
        if most < 2:
            continue
        near = Fraction(fraction).limit_denominator(most)
        parts = max(2, near.denominator)
        taken = min(max(1, round(fraction * parts)), parts - 1)
        part = spread_groups(targets, number, parts, stream(f"group split {what}", seed))
        of_group = np.zeros(groups, dtype=np.int64)
        of_group[number] = part
        ring = generator(f"group parts {what}", seed).permutation(parts)
        for start in range(parts):
            off = np.flatnonzero(np.isin(of_group, np.roll(ring, -start)[:taken]))
            if 0 < len(off) < groups:
                yield off
    for group in generator(f"single groups {what}", seed).permutation(groups):
        yield np.array([group])


def spread_groups(targets: Targets, number: Indices, parts: int, seed: int) -> Indices:
    """Return the part number of each position, (N,). Groups stay whole; classes are spread as evenly as that allows."""
    from sklearn.model_selection import StratifiedGroupKFold  # takes a second to load

    result = np.empty(len(targets), dtype=np.int64)
    folds = StratifiedGroupKFold(parts, shuffle=True, random_state=seed % 2**32)
    with warnings.catch_warnings():  # scikit-learn warns of parts without a class, which is allowed here
        warnings.simplefilter("ignore", UserWarning)
        for part, (_, inside) in enumerate(folds.split(number, targets, number)):
            result[inside] = part
    return result
