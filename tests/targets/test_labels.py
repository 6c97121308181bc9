"""Test labels that are suspicious, are not classes, or contradict each other."""

import numpy as np
import pytest

from headstart.errors import DataError
from headstart.targets.labels import (
    absent_classes,
    classes_text,
    conflicting_labels,
    is_imbalanced,
    refuse_no_classes,
    sizes_text,
    suspicious_labels,
)


@pytest.mark.parametrize("label", ["nan", "NaN", "none", "None", "NULL", "n/a", "N/A", "#N/A", "NA", "-", "?", "<NA>"])
def test_labels_that_look_like_missing_values(label: str) -> None:
    (sentence,) = suspicious_labels({"cat": 9, label: 3})
    assert f"'{label}' (3 images)" in sentence


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cat", "CAT"), ("cat", "Cat."), ("cat", " cat"), ("polar bear", "polar_bear"), ("polar-bear", "Polar Bear"),
        ("1", "1.0"), ("1", "01"), ("0.5", ".5"), ("\u00e9cureuil", "e\u0301cureuil"), ("STRASSE", "stra\u00dfe"),
    ],
)  # fmt: skip
def test_labels_in_two_spellings(one: str, other: str) -> None:
    (sentence,) = suspicious_labels({one: 5, other: 2, "dog": 9})
    assert f"'{one}' (5 images) / '{other}' (2 images)" in sentence
    assert "dog" not in sentence


def test_several_pairs_are_counted() -> None:
    counts = {name: 1 for letter in "abcde" for name in (letter, letter.upper())}
    (sentence,) = suspicious_labels(counts)
    assert " and 2 more" in sentence


def test_labels_that_are_fine() -> None:
    fine = [
        "cat",
        "dog",
        "0",
        "1",
        "10",
        "-1",
        "A+",
        "A-",
        "A",
        "n02085620-Chihuahua",
        "unknown",
        "golden retriever, dog",
    ]
    assert suspicious_labels(dict.fromkeys(fine, 3)) == []
    refuse_no_classes(dict.fromkeys(fine, 3), "list.csv")


@pytest.mark.parametrize(
    ("labels", "several"),
    [
        (["cat;red", "cat;blue", "dog;red"], True),
        (["cat|red", "dog|red"], True),
        (["cat; red", "dog"], True),
        (["cat, red", "cat, blue", "dog, red", "dog, blue", "dog, green", "cat, green"], True),
        (["golden retriever, dog", "tabby, cat"], False),
        (["cat;red", "cat", "dog", "owl"], False),
    ],
)
def test_several_labels_an_image(labels: list[str], several: bool) -> None:
    counts = dict.fromkeys(labels, 2)
    if several:
        with pytest.raises(
            DataError, match=r"look like several labels per image, in \d+ of \d+ rows.*one label per row"
        ):
            refuse_no_classes(counts, "list.csv")
    else:
        refuse_no_classes(counts, "list.csv")


def test_a_few_labels_of_several_are_warned_of() -> None:
    (sentence,) = suspicious_labels({"cat;dog": 1, "cat": 8, "dog": 9})
    assert sentence.startswith(
        "labels that look like several labels per image are separate classes: 'cat;dog' (1 image)"
    )


@pytest.mark.parametrize(
    ("labels", "numbers"),
    [
        (["0.25", "1.5", "2.75", "3.1"], True),
        (["1,5", "2,5", "3,5", "4,25"], True),
        (["1e-3", "2.5e-1", "0.1", "1.5e-1"], True),
        (["-0.5", "+0.5", "1.25", "7.75", "3"], True),
        ([str(number) for number in range(10)], False),
        ([str(float(number)) for number in range(10)], False),
        (["0.5", "1", "2"], False),
        (["0.25", "1.5", "2.75", "3.1", "cat"], False),
        (["1.2.3", "1.2.4", "1.2.5", "1.2.6"], False),
    ],
)
def test_numbers_to_be_predicted(labels: list[str], numbers: bool) -> None:
    counts = dict.fromkeys(labels, 2)
    if numbers:
        with pytest.raises(DataError, match=r"look like numbers to predict, .* use task=regression"):
            refuse_no_classes(counts, "list.csv")
    else:
        refuse_no_classes(counts, "list.csv")


def test_whole_numbers_of_hardly_two_images_each_are_no_classes() -> None:
    ages = {str(18 + 3 * number): 1 + (number % 3 == 0) for number in range(12)}
    with pytest.raises(DataError, match=r"such as '18' look like numbers to predict, 12 different values"):
        refuse_no_classes(ages, "ages.csv")
    refuse_no_classes(dict.fromkeys(ages, 2), "classes.csv")
    refuse_no_classes(ages | {"old": 1}, "words.csv")


def test_contents_under_two_labels() -> None:
    train = (["a0", "a1", "b0", "b1"], np.array([0, 0, 1, 1]), [b"x", b"y", b"x", b"z"])
    test = (["b2", "a2", "a3"], np.array([1, 0, 0]), [b"y", b"x", b"w"])
    assert conflicting_labels({"train": train, "test": test}, ["a", "b"].__getitem__) == (
        "2 images have the same content under two labels, such as 'a0' (a) and 'b0' (b)"
    )
    assert conflicting_labels({"test": test}, ["a", "b"].__getitem__) == ""


def test_what_a_run_says_of_its_classes() -> None:
    names = ["ape", "bee", "cat", "dog"]
    assert classes_text(names) == "4 classes (ape, bee, cat, ...)"
    assert classes_text(names[:2]) == "2 classes (ape, bee)"
    assert sizes_text(names, np.repeat(np.arange(4), [12, 121, 40, 12])) == (
        "12 (ape) to 121 (bee) images per class in train"
    )
    assert sizes_text(names[:2], np.repeat(np.arange(2), 5)) == "5 images per class in train"


@pytest.mark.parametrize(("counts", "imbalanced"), [([4, 12], True), ([4, 11], False), ([5, 5], False)])
def test_a_hint_where_classes_differ_much_in_size(counts: list[int], imbalanced: bool) -> None:
    assert is_imbalanced(np.repeat(np.arange(2), counts), 2) is imbalanced


def test_classes_that_a_split_lacks() -> None:
    splits = {"train": np.array([0, 1, 2]), "validation": np.array([0, 2]), "test": np.array([1])}
    one, two = absent_classes(splits, ["cat", "dog", "owl"])
    assert one == "validation has no image of 1 of 3 classes ('dog'), so its scores do not include them"
    assert two.startswith("test has no image of 2 of 3 classes ('cat', 'owl')")
    assert absent_classes({"train": np.array([0, 1])}, ["a", "b"]) == []
