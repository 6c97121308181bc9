"""Test that groups stay in one split or fold, every class stays in train, and a seed repeats a split."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import PREPROCESSING
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from headstart.data import ImageFolder
from headstart.errors import DataError
from headstart.inputs.collection import Collection
from headstart.splits.grouped_splits import check_class_groups, grouped_fold_of, shared_groups, split_off_groups

# A group: how many images of each of three classes it has.
GROUPS = st.lists(st.lists(st.integers(0, 6), min_size=3, max_size=3), min_size=3, max_size=14)


def images_of(counts: list[list[int]]) -> tuple[np.ndarray, list[str], list[str]]:
    """Return targets, groups and class names, in mixed order."""
    entries = [
        (label, f"g{g}") for g, row in enumerate(counts) for label, count in enumerate(row) for _ in range(count)
    ]
    order = np.random.default_rng(0).permutation(len(entries))
    return np.array([entries[i][0] for i in order]), [entries[i][1] for i in order], ["ant", "bee", "cat"]


def groups_of_class(targets: np.ndarray, groups: list[str]) -> list[int]:
    return [
        len({group for group, target in zip(groups, targets, strict=True) if target == label}) for label in range(3)
    ]


@settings(deadline=None, max_examples=60)
@given(GROUPS, st.floats(0.05, 0.95), st.integers(0, 3), st.integers(1, 2))
def test_groups_stay_whole_and_every_class_stays(
    counts: list[list[int]], fraction: float, seed: int, keep: int
) -> None:
    targets, groups, names = images_of(counts)
    assume(len(targets) and min(groups_of_class(targets, groups)) > keep)
    stay, off = split_off_groups(targets, groups, fraction, seed, names, "test", keep)
    assert sorted([*stay, *off]) == list(range(len(targets)))
    named = np.array(groups)
    assert len(off)
    assert not set(named[stay]) & set(named[off])
    assert min(groups_of_class(targets[stay], named[stay].tolist())) >= keep
    again = split_off_groups(targets, groups, fraction, seed, names, "test", keep)
    assert all(np.array_equal(a, b) for a, b in zip((stay, off), again, strict=True))


@settings(deadline=None, max_examples=40)
@given(st.integers(6, 40), st.integers(1, 4), st.sampled_from([0.1, 0.2, 0.25, 0.3, 0.4]), st.integers(0, 3))
def test_the_fraction_is_met_as_well_as_groups_allow(many: int, each: int, fraction: float, seed: int) -> None:
    """With groups of one size the error is less than one group, or less than the steps of ten parts."""
    targets, groups, names = images_of([[each] * 3] * many)
    _, off = split_off_groups(targets, groups, fraction, seed, names, "validation", 1)
    assert abs(len(off) / len(targets) - fraction) <= 1 / many + 0.05
    assert len(set(targets[off])) == 3


def test_seeds_split_off_other_groups() -> None:
    targets, groups, names = images_of([[2, 2, 2]] * 20)
    found = {tuple(split_off_groups(targets, groups, 0.2, seed, names, "test", 1)[1]) for seed in range(4)}
    assert len(found) > 1


@settings(deadline=None, max_examples=40)
@given(GROUPS, st.integers(2, 4), st.integers(0, 3))
def test_each_group_is_in_one_fold(counts: list[list[int]], folds: int, seed: int) -> None:
    targets, groups, names = images_of(counts)
    assume(len(targets) and min(groups_of_class(targets, groups)) >= 3)
    try:
        parts = [grouped_fold_of(targets, groups, folds, fold, seed, names) for fold in range(folds)]
    except DataError:  # large groups may leave no other choice, and it is said
        with pytest.raises(
            DataError, match=r"dataset\.folds=\d: (there are only|the largest class|fold \d would hold)"
        ):
            grouped_fold_of(targets, groups, folds, 0, seed, names)
        return
    assert sorted(np.concatenate([off for _, off in parts])) == list(range(len(targets)))
    named = np.array(groups)
    for stay, off in parts:
        assert len(off)
        assert not set(named[stay]) & set(named[off])
        assert set(targets[stay]) == {0, 1, 2}


def test_too_few_groups_are_named() -> None:
    targets, groups = np.array([0, 0, 1, 1, 1]), ["s1", "s2", "s3", "s3", "s3"]
    with pytest.raises(DataError, match=r"Class 'owl' has all its images in group 's3'; to split off test, at least 2"):
        check_class_groups(targets, groups, ["ant", "owl"], 2, "to split off test")
    with pytest.raises(DataError, match=r"Class 'ant' has all its images in 2 groups \(s1, s2\); .* at least 3 groups"):
        check_class_groups(targets, groups, ["ant", "owl"], 3, "to split off test and validation")
    with pytest.raises(DataError, match=r"dataset\.folds=4: there are only 3 groups"):
        grouped_fold_of(targets, groups, 4, 0, 0, ["ant", "owl"])
    with pytest.raises(DataError, match="All images are in group 's'"):
        split_off_groups(targets, ["s"] * 5, 0.2, 0, ["ant", "owl"], "test", 1)


def test_shared_groups_of_the_sources_own_splits_are_named() -> None:
    def split(*groups: str) -> Collection:
        return Collection(list(groups), np.zeros(len(groups), dtype=np.int64), [], list(groups))

    found = shared_groups(
        {"train": split("p1", "p2", "p3", "p4"), "validation": split("p5"), "test": split("p1", "p5")}
    )
    assert found == ["1 group is in train and test (p1)", "1 group is in validation and test (p5)"]
    (four,) = shared_groups({"train": split("a", "b", "c", "d"), "test": split("a", "b", "c", "d")})
    assert four == "4 groups are in train and test (a, b, c, ...)"
    assert shared_groups({"train": Collection(["a"], np.zeros(1, dtype=np.int64), [])}) == []


class Grouped(ImageFolder):
    """Images whose group is the number of their file, modulo 6."""

    def collect(self) -> tuple[list[str], dict[str, Collection]]:
        names, splits = super().collect()
        return names, {
            name: Collection(c.ids, c.targets, c.images, [f"patient{int(Path(i).stem) % 6}" for i in c.ids])
            for name, c in splits.items()
        }


def patients(ids: object) -> set[int]:
    return {int(Path(str(name)).stem) % 6 for name in ids}  # type: ignore[attr-defined]


@pytest.mark.parametrize("settings", [{}, {"folds": 3, "fold": 1}, {"labels_per_class": 2}])
def test_a_data_set_with_groups_keeps_them_whole(settings: dict[str, int], make_folder: Callable[..., Path]) -> None:
    data = Grouped(root=str(make_folder({"a": 24, "b": 18})), **settings)
    data.prepare(PREPROCESSING)
    train, validation, test = (patients(split.ids) for split in (data.train, data.validation, data.test))
    assert not train & validation
    assert not train & test
    assert not validation & test
    assert re.search(r"validation: \d+ % of images in \d groups?", data.splits_made)
    assert data.warnings == []
    assert len(data.train) == 4 if settings.get("labels_per_class") else len(data.train) > 10


def test_own_splits_that_share_groups_are_warned_of(make_folder: Callable[..., Path]) -> None:
    data = Grouped(root=str(make_folder({"train/a": 12, "train/b": 12, "test/a": 6, "test/b": 6})))
    data.prepare(PREPROCESSING)
    assert not patients(data.train.ids) & patients(data.validation.ids)
    assert any("in train and test (patient" in warning for warning in data.warnings)


def test_a_class_of_one_group_is_refused(make_folder: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match=r"Class 'owl' has all its images in group 'patient0'; to split off validation"):
        Grouped(root=str(make_folder({"a": 12, "owl": 1}))).prepare(PREPROCESSING)
