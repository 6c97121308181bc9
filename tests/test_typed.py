"""Test how settings are read as they are typed."""

import pytest

from headstart.typed import group_of, key_of


@pytest.mark.parametrize(
    ("argument", "key", "group"),
    [
        ("strategy=head_only", "strategy", "strategy"),
        ("trainer.max_epochs=5", "trainer.max_epochs", "trainer"),
        ("+backbone.depth=3", "backbone.depth", "backbone"),
        ("++a.b.c=x=y", "a.b.c", "a"),
        ("~scheduler", "scheduler", "scheduler"),
    ],
)
def test_key_and_group(argument: str, key: str, group: str) -> None:
    assert (key_of(argument), group_of(argument)) == (key, group)
