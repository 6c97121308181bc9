"""Test that splits and subsets are stratified, repeat with their seed, and lose no image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.errors import DataError
from headstart.splits.splits import few_per_class, fold_of, split_off

COUNTS = st.lists(st.integers(2, 30), min_size=2, max_size=6)


def targets_of(counts: list[int]) -> np.ndarray:
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))


@given(COUNTS, st.floats(0.05, 0.9), st.integers(0, 5))
def test_a_split_is_a_stratified_partition(counts: list[int], fraction: float, seed: int) -> None:
    targets, names = targets_of(counts), [str(i) for i in range(len(counts))]
    stay, off = split_off(targets, fraction, seed, names, "test")
    assert sorted([*stay, *off]) == list(range(len(targets)))
    for label, count in enumerate(counts):
        taken = int((targets[off] == label).sum())
        assert 1 <= taken <= count - 1
        assert abs(taken - fraction * count) <= 1
    again = split_off(targets, fraction, seed, names, "test")
    assert all(np.array_equal(a, b) for a, b in zip((stay, off), again, strict=True))


@given(COUNTS, st.integers(0, 5))
def test_a_smaller_subset_is_part_of_a_larger_one(counts: list[int], seed: int) -> None:
    targets, names = targets_of(counts), [str(i) for i in range(len(counts))]
    one, two = (few_per_class(targets, n, seed, names) for n in (1, 2))
    assert set(one) < set(two)
    assert np.bincount(targets[two]).tolist() == [2] * len(counts)


@given(COUNTS, st.integers(2, 5), st.integers(0, 5))
def test_folds_are_stratified_and_cover_every_image_once(counts: list[int], folds: int, seed: int) -> None:
    targets, names = targets_of(counts), [str(i) for i in range(len(counts))]
    if min(counts) < folds:
        with pytest.raises(DataError, match=f"dataset.folds={folds}: class"):
            fold_of(targets, folds, 0, seed, names)
        return
    parts = [fold_of(targets, folds, fold, seed, names) for fold in range(folds)]
    assert sorted(np.concatenate([off for _, off in parts])) == list(range(len(targets)))
    for stay, off in parts:
        assert sorted([*stay, *off]) == list(range(len(targets)))
        for label, count in enumerate(counts):
            assert count // folds <= (targets[off] == label).sum() <= -(-count // folds)


def test_seeds_choose_differently_and_too_few_are_refused() -> None:
    targets, names = targets_of([50, 50]), ["ants", "bees"]
    assert not np.array_equal(few_per_class(targets, 5, 0, names), few_per_class(targets, 5, 1, names))
    assert not np.array_equal(
        split_off(targets, 0.2, 0, names, "test")[1], split_off(targets, 0.2, 1, names, "test")[1]
    )
    with pytest.raises(DataError, match="'ants' has only 50"):
        few_per_class(targets, 51, 0, names)
    with pytest.raises(DataError, match="'bees' has 1 image,"):
        split_off(targets_of([2, 1]), 0.2, 0, names, "test")


@given(COUNTS, st.integers(0, 5))
def test_a_few_for_validation_are_another_draw(counts: list[int], seed: int) -> None:
    targets, names = targets_of(counts), [str(i) for i in range(len(counts))]
    one, two = (few_per_class(targets, n, seed, names, split="validation") for n in (1, 2))
    assert set(one) < set(two)
    assert np.bincount(targets[two]).tolist() == [2] * len(counts)
    with pytest.raises(
        DataError, match=r"dataset.validation_labels_per_class=31: class '0' has only \d+ validation imag"
    ):
        few_per_class(targets, 31, seed, names, split="validation")


def test_training_and_validation_draw_from_streams_of_their_own() -> None:
    targets = targets_of([50, 50])
    draws = [few_per_class(targets, 10, 0, ["ants", "bees"], split=split) for split in ("training", "validation")]
    assert not np.array_equal(*draws)
