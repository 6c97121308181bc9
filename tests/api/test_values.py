"""Test that any Python value comes back unchanged from the grammar of Hydra's command line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from headstart.api.values import settings_words, value_text
from headstart.errors import ConfigError

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
PLAIN = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False) | TEXTS


def read(word: str) -> Any:
    """Return the value of key=value, which is no sweep."""
    found = OverridesParser.create().parse_override(word)
    assert not found.is_sweep_override()
    return found.value()


@given(st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3), max_leaves=6))
def test_values_come_back(value: Any) -> None:
    found = read(f"key={value_text(value, 'key')}")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("value", ["null", "None", "true", "0.1", "", "a,b", "a b", "'", "\\", "[a]", "x=y", "é 漢"])
def test_texts_that_look_like_something_else_stay_texts(value: str) -> None:
    assert read(f"key={value_text(value, 'key')}") == value


def test_other_kinds_of_values() -> None:
    assert value_text(Path("a b/c"), "root") == "'a b/c'"
    assert value_text(np.float32(0.5), "lr") == "0.5"
    assert value_text(("x", 1), "names") == "[x,1]"
    assert read(f"key={value_text({'a b': {'x,y': None}, 1: [2]}, 'key')}") == {"a b": {"x,y": None}, 1: [2]}


def test_plain_values_are_written_as_on_a_command_line() -> None:
    given = ["seed=1", {"optimizer.lr": 0.1, "strategy": "scratch"}]
    assert settings_words(given, {"backbone": {"weights": None}}, False) == [
        "seed=1", "optimizer.lr=0.1", "strategy=scratch", "backbone.weights=null",
    ]  # fmt: skip


def test_a_mapping_below_a_dotted_key_is_one_value() -> None:
    assert settings_words([], {"dataset": {"splits": {"train": "a"}}}, False) == ["dataset.splits={train:a}"]


def test_a_list_is_a_value_or_the_values_to_try() -> None:
    assert settings_words([], {"targets": ["a", "b"]}, False) == ["targets=[a,b]"]
    assert settings_words([], {"targets": [["a", "b"]], "seed": range(3)}, True) == ["targets=[a,b]", "seed=0,1,2"]
    assert settings_words([{"targets": ["a", "b"]}], {"x": {"y": [1]}}, True) == ["targets=[a,b]", "x.y=[1]"]
    assert settings_words([], {"name": ["a,b", "c"]}, True) == ["name='a,b',c"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["--cfg=job"], "'--cfg=job' is not a setting"),
        (["scratch"], "'scratch' is not a setting"),
        (["seed=0,1"], "'seed=0,1' names several values; headstart.sweep runs each of them."),
        (["seed=[0"], "'seed=[0' cannot be read as a setting"),
        ([{"a b": 1}], "'a b' is not the name of a setting"),
        ([{"seed": object()}], "seed is of type object, which no setting can be"),
        ([{"x.y": {"a'b": 1}}], 'x.y has the key "a\'b", which no setting can hold'),
        ([{"x": "\0"}], "holds a character that no setting can hold"),
        ([7], "7 is not a setting"),
    ],
)
def test_what_is_no_setting_is_refused(settings: Any, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        settings_words(settings, {}, False)
    assert message in str(refused.value)


def test_an_empty_list_to_try_is_refused() -> None:
    with pytest.raises(ConfigError, match="seed has no value to try"):
        settings_words([], {"seed": []}, True)
