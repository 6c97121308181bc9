"""Targets that are several labels: read from a list, checked, described."""

import numpy as np
import pytest

from headstart.errors import DataError
from headstart.targets.label_sets import LabelSets, labels_cell, labels_of, positive_weights

RULES = LabelSets()


def cells(*of: str) -> list[list[str]]:
    return [[cell] for cell in of]


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("", []),
        ("car", ["car"]),
        ("sign; car ;", ["sign", "car"]),
        ("sign|car", ["sign", "car"]),
        ('["sign", "a;b"]', ["sign", "a;b"]),
        ("[]", []),
    ],
)
def test_a_cell_holds_labels(cell: str, labels: list[str]) -> None:
    assert labels_of(cell) == labels
    assert labels_of(labels_cell(labels)) == labels


@pytest.mark.parametrize("labels", [["a;b"], ["[x"], ["a", "b|c"], ['"'], ["ä", "b"], []])
def test_any_labels_come_back(labels: list[str]) -> None:
    assert labels_of(labels_cell(labels)) == labels


@pytest.mark.parametrize("cell", ["[car", "[1]", '[["a"]]', '[""]', "[" * 100_000])
def test_a_cell_that_is_no_list_is_refused(cell: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        labels_of(cell)


def test_labels_of_train_are_the_classes_and_every_order_gives_the_same() -> None:
    names, targets, warnings = RULES.read(
        {"train": cells("b;a", "", "c", "a;b"), "test": cells('["c"]', "a;a")}, (), "list.csv"
    )
    assert names == ["a", "b", "c"]
    assert targets["train"].tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1], [1, 1, 0]]
    assert targets["test"].tolist() == [[0, 0, 1], [1, 0, 0]]
    assert targets["train"].dtype == np.float32
    assert warnings == ["1 image with a label that is named twice; it counts once"]


def test_columns_of_zeros_and_ones_are_labels() -> None:
    names, targets, _ = RULES.read({"train": [["1", "false"], ["0.0", "True"]]}, ["sign", "car"], "list.csv")
    assert names == ["sign", "car"]
    assert targets["train"].tolist() == [[1, 0], [0, 1]]


def test_a_split_that_lacks_labels_is_named() -> None:
    targets = np.array([[1, 0, 0], [1, 1, 0]], dtype=np.float32)
    (sentence,) = RULES.absent({"test": targets, "train": np.eye(3)}, ["a", "b", "c"])
    assert sentence == "test has no image with 1 of 3 labels ('c'), so its mAP leaves them out"
    with pytest.raises(DataError, match="In train no image has the label 'c'"):
        RULES.check({"train": targets[:, 1:]}, ["b", "c"])


def test_descriptions_and_weights() -> None:
    targets = np.array([[1, 0], [1, 1], [1, 0], [0, 0]], dtype=np.float32)
    phrase, lines = RULES.describe(targets, ["car", "sign"], "loss")
    assert phrase == "2 labels (car, sign)"
    assert lines == [
        "1 (sign) to 3 (car) images per label in train, 1 labels per image, 1 image without any",
        "balance: loss, positives weigh 0.33 (car) to 3 (sign)",
    ]
    np.testing.assert_allclose(positive_weights(targets), [1 / 3, 3])
    even = RULES.describe(targets[:, [0, 0]], ["car", "sign"], "none")[1]
    assert even == ["3 images per label in train, 1.5 labels per image, 1 image without any"]
    assert RULES.text([1.0, 1.0], ["car", "sign"]) == "car;sign"
