"""Test wrong settings of data sets."""

from pathlib import Path
from typing import Any

import pytest

from headstart.errors import ConfigError, DataError
from headstart.settings.rules import check_dataset, existing_folder, given_classes, given_splits


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"splits": "train"}, r"dataset.splits=train: expected a mapping"),
        ({"splits": {}}, r"dataset.splits=\{\}: expected a mapping"),
        ({"splits": {"train": "a", "tset": "b"}}, r"dataset.splits has the key 'tset'. Did you mean 'test'\?"),
        ({"splits": {"train": "a", "val": "b", "dev": "c"}}, r"dataset.splits names validation twice"),
        ({"splits": {"train": ["a"]}}, r"dataset.splits=\{train: \['a'\]\}: expected the name of a folder"),
        ({"splits": {"train": None}}, r"expected the name of a folder"),
        ({"splits": {"test": "a"}}, r"dataset.splits names test but not train"),
        ({"splits": {"train": "a", "test": "a"}}, r"expected a different place for each split"),
        ({"classes": "cat"}, r"dataset.classes=cat: expected a list of names"),
        ({"classes": ["cat", 1.5]}, r"expected a list of names"),
        ({"classes": [True, False]}, r"expected a list of names"),
        ({"classes": ["cat", "cat"]}, r"expected at least two different names"),
        ({"classes": []}, r"expected at least two different names"),
        ({"groups": 7}, r"dataset.groups=7: expected a regular expression"),
        ({"groups": ""}, r"dataset.groups=: expected a regular expression"),
        ({"groups": "(a)(b)"}, r"one part in brackets at most"),
        ({"groups": "a", "group_column": "b"}, r"both define groups"),
        ({"group_column": 1.5}, r"dataset.group_column=1.5: expected the name of a column, or null"),
        ({"split_column": True}, r"dataset.split_column=True: expected the name of a column, or null"),
        ({"path_column": None}, r"dataset.path_column=None: expected the name of a column\."),
        ({"label_column": " "}, r"dataset.label_column=' ': expected the name of a column\."),
        ({"pictures": 3}, r"dataset.pictures=3: expected the path of a folder, or null"),
    ],
)
def test_one_sentence_for_each_wrong_setting(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_dataset(settings)


def test_splits_and_classes_as_they_are_used() -> None:
    assert given_splits({"training": "a/b", "dev": 3}) == {"train": "a/b", "validation": "3"}
    assert given_classes(["cat", 0]) == ["cat", "0"]
    assert given_splits(None) is given_classes(None) is None


def test_no_hidden_folder_is_proposed() -> None:
    Path(".digit").mkdir()
    with pytest.raises(DataError, match=r"there is no such folder\.$"):
        existing_folder("digits")
