"""Test that arguments of other libraries are checked against their annotations."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Optional, TypeVar, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.errors import ConfigError
from headstart.settings.arguments import check_arguments

T = TypeVar("T")
FITS: list[tuple[Any, list[Any], list[Any]]] = [
    (bool, [True, False], [1, 0, "true", None, []]),
    (int, [1, -1], [True, 1.0, "1", None, []]),
    (float, [1, 1.5], [True, "1", None, []]),
    (str, ["", "a"], [1, True, None, []]),
    (int | None, [1, None], [True, "a"]),
    (Optional[Union[int, str]], [1, "a", None], [True, 1.5, []]),  # noqa: UP007, UP045  # as Lightning writes it
    (Literal["a", 16], ["a", 16], ["b", True, 16.0, None]),
    (list[int], [[], [1, 2]], [1, "12", [True], [[1]], None]),
    (tuple[float, float], [[0.9, 1]], [[], [0.9], [0.9, 1, 1], 0.9, [0.9, True]]),
    (tuple[int, ...], [[], [1, 2, 3]], [1, ["a"]]),
    (Sequence[str], [["a"], []], ["a", [1]]),
    (Iterable[int], [[1]], ["1", 1]),
    (list, [[1, "a"]], ["a", 1]),
    (Mapping[str, int], [], [1, "a", []]),
    (Union[str, Path, None], ["a", None], [1, True]),  # noqa: UP007
    (timedelta | None, [None], [5, "a"]),
    (object, [1, []], []),
    (Any, [1, "a", None, []], []),
    (T, [1, "a"], []),
    (Callable[..., int], [], [1, "a"]),
]


def called(hint: Any) -> Callable[..., Any]:
    def function(value: Any = None, **others: int) -> None: ...

    function.__annotations__["value"] = hint
    return function


@pytest.mark.parametrize(("hint", "right", "wrong"), FITS, ids=lambda value: str(value)[:30])
def test_values_and_annotations(hint: Any, right: list[Any], wrong: list[Any]) -> None:
    for value in [*right, {"_target_": "made.first"}]:
        check_arguments("group", called(hint), {"value": value})
    for value in wrong:
        with pytest.raises(ConfigError, match=r"^group\.value=.*: expected .+\.$"):
            check_arguments("group", called(hint), {"value": value})


def test_what_has_no_annotation_is_left_alone() -> None:
    class Plain:
        def __init__(self, one, two: "NotThere" = 1) -> None:  # type: ignore[no-untyped-def, name-defined]  # noqa: F821
            pass

    check_arguments("group", Plain, {"one": [], "two": [], "three": []})
    check_arguments("group", called(int), {"others": "of its own", "unknown": []})


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
def test_any_value_fits_or_is_refused(value: Any) -> None:
    for hint, _, _ in FITS:
        with suppress(ConfigError):
            check_arguments("group", called(hint), {"value": value})
