"""Test that the defaults of a class equal the values of its config files."""

from functools import cache
from inspect import Parameter, signature
from typing import Any

import pytest
from hydra.utils import get_object
from omegaconf import OmegaConf

from headstart.augmentations.learned.search import SearchSettings
from headstart.settings.configs import choices, composed, conf_folder

GROUPS = sorted(folder.name for folder in conf_folder().iterdir() if choices(folder.name))


@cache
def shipped(group: str) -> dict[str, list[dict[str, Any]]]:
    """Return the settings in the files of a group for classes of headstart, by class."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name in choices(group):
        command, place = ("pretrain", "task") if group == "objective" else ("train", group)
        found_here = composed([f"{group}={name}"], command)[0].get(place)
        settings: Any = OmegaConf.to_container(found_here or OmegaConf.create())
        for part in (settings, *settings.values()):
            if isinstance(part, dict) and str(part.get("_target_")).startswith("headstart."):
                found.setdefault(part["_target_"], []).append(part)
    return found


def parameters(name: str) -> dict[str, Parameter]:
    """Return the parameters of a function or class, including those that a class passes on."""
    made: Any = get_object(name)
    found: dict[str, Parameter] = {}
    for one in reversed(made.__mro__) if isinstance(made, type) else [made]:
        if not isinstance(one, type):
            found |= signature(one).parameters
        elif "__init__" in vars(one):
            found |= signature(vars(one)["__init__"]).parameters
    return found


def as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("group", GROUPS)
def test_a_class_has_the_defaults_of_its_files(group: str) -> None:
    """If several files name one class, its default is that of one of them."""
    for name, parts in shipped(group).items():
        for key, parameter in parameters(name).items():
            values = [part[key] for part in parts if key in part and not str(part[key]).startswith("${")]
            if values and parameter.default is not Parameter.empty:
                assert as_list(parameter.default) in values, f"{name}: {key}"


@pytest.mark.parametrize("group", GROUPS)
def test_a_class_has_every_setting_of_its_files(group: str) -> None:
    for name, parts in shipped(group).items():
        for part in parts:
            assert {key for key in part if not key.startswith("_")} <= parameters(name).keys(), name


def test_most_groups_make_classes_of_headstart() -> None:
    assert {group for group in GROUPS if shipped(group)} == {
        "augmentation", "backbone", "callbacks", "dataset", "features", "head", "logger", "objective", "scheduler",
        "strategy", "task",
    }  # fmt: skip


def test_a_search_has_the_defaults_of_its_file() -> None:
    settings: Any = OmegaConf.to_container(composed([], "policy")[0].policy, resolve=True)
    for key, field in SearchSettings.__dataclass_fields__.items():
        assert settings[key] == field.default or (key, settings[key]) == ("operations", None), key
