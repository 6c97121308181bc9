"""Test that every package of a fresh clone, its build and its installation is pinned."""

import re
import tomllib
from itertools import chain

import pytest
from conftest import CHECKOUT

PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
PINNED = re.findall(r"^([\w.-]+)==\S+$", (CHECKOUT / "constraints.txt").read_text(), re.M)
OF_HATCHLING = ["packaging", "pathspec", "pluggy", "tomlkit", "trove-classifiers"]


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_everything_named_in_pyproject_is_pinned() -> None:
    extras = chain.from_iterable(PROJECT["project"]["optional-dependencies"].values())
    wanted = [*PROJECT["build-system"]["requires"], *PROJECT["project"]["dependencies"], *extras, "pip", "setuptools"]
    names = {plain(re.split(r"[\[<>=~! ]", one)[0]) for one in [*wanted, *OF_HATCHLING]} - {"headstart"}
    assert names <= {plain(name) for name in PINNED}
    assert len(PINNED) == len({plain(name) for name in PINNED})


@pytest.mark.parametrize("line", re.findall(r"^.*pip install.*$", (CHECKOUT / "Makefile").read_text(), re.M))
def test_make_uses_the_pins(line: str) -> None:
    assert "--constraint constraints.txt" in line
    assert "--build-constraint constraints.txt" in line or line.endswith("--upgrade pip"), "pip alone builds nothing"
