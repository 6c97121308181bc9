"""Test splits made from train, and splits of the source that are not used."""

import numpy as np
import pytest

from headstart.errors import DataError
from headstart.inputs.collection import Collection
from headstart.splits.made_splits import check_enough, idle_fractions, splits_not_used, splits_to_make


def part(*counts: int) -> Collection:
    targets = np.repeat(np.arange(len(counts)), counts)
    return Collection([str(number) for number in range(len(targets))], targets, [])


@pytest.mark.parametrize(
    ("found", "test_split", "made"),
    [
        ("train", None, ["validation", "test"]),
        ("train test", None, ["validation"]),
        ("train validation", None, ["test"]),
        ("train validation", "validation", ["validation"]),
        ("train validation holdout", "holdout", []),
        ("train validation test", None, []),
    ],
)
def test_splits_that_are_made(found: str, test_split: str | None, made: list[str]) -> None:
    assert splits_to_make({name: part(1) for name in found.split()}, test_split) == made


@pytest.mark.parametrize(
    ("counts", "made", "message"),
    [
        ((5, 2), ["validation", "test"], r"Class 'dog' has 2 images; 3 are needed for train, validation and test\."),
        ((1, 2), ["test"], r"Class 'cat' has 1 image; 2 are needed for train and test\."),
    ],
)
def test_too_few_images_are_counted_before_any_is_split_off(
    counts: tuple[int, ...], made: list[str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        check_enough(part(*counts).targets, made, ["cat", "dog"])


def test_enough_images() -> None:
    check_enough(part(3, 3).targets, ["validation", "test"], ["cat", "dog"])
    check_enough(part(1, 1).targets, [], ["cat", "dog"])


@pytest.mark.parametrize(
    ("folds", "test_split", "expected"),
    [
        (None, None, ["split `holdout`: 2 images"]),
        (None, "holdout", ["split `test`: 1 image"]),
        (None, "validation", ["split `test`: 1 image", "split `holdout`: 2 images"]),
        (5, None, ["split `test`: 1 image", "split `holdout`: 2 images"]),
    ],
)
def test_splits_that_take_no_part(folds: int | None, test_split: str | None, expected: list[str]) -> None:
    found = {"train": part(3), "validation": part(2), "test": part(1), "holdout": part(2)}
    assert splits_not_used(found, folds, test_split) == expected


def test_fractions_without_effect_are_named_if_they_were_set() -> None:
    set_both = {"validation": 0.3, "test": 0.1}
    text = "dataset.validation_fraction not used, as the source has its own split"
    assert idle_fractions(["test"], None, set_both) == text
    assert idle_fractions(["validation"], 5, set_both) == "dataset.test_fraction not used, as test is a fold"
    assert idle_fractions([], None, {"validation": 0.2, "test": 0.2}) == ""
