"""Test groups that are read from names."""

import numpy as np
import pytest

from headstart.data import Digits
from headstart.errors import ConfigError, DataError
from headstart.inputs.collection import Collection
from headstart.splits.groups import grouped_by_name

NAMES = ["train/cat/patient12_003.jpg", "train/dog/patient7_001.jpg"]


@pytest.mark.parametrize(
    ("pattern", "groups"),
    [
        (r"patient(\d+)", ["12", "7"]),
        (r"patient\d+", ["patient12", "patient7"]),
        (r"cat|dog", ["cat", "dog"]),
        (r"[^/]*(?=_)", ["patient12", "patient7"]),
    ],
)
def test_the_part_in_brackets_or_all_that_matches(pattern: str, groups: list[str]) -> None:
    collection = Collection(NAMES, np.array([0, 1]), [])
    assert grouped_by_name(collection, pattern).groups == groups


@pytest.mark.parametrize("pattern", [r"site(\d)", r"cat", r"patient12()"])
def test_a_name_without_a_group_is_shown(pattern: str) -> None:
    with pytest.raises(DataError, match=r"the pattern finds no group in the name 'train/(cat|dog)/patient"):
        grouped_by_name(Collection(NAMES, np.array([0, 1]), []), pattern)


def test_every_data_set_takes_a_pattern() -> None:
    assert Digits(groups="0").groups == "0"
    with pytest.raises(ConfigError, match=r"dataset.groups="):
        Digits(groups="(")
