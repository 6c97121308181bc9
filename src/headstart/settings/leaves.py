"""Describe the values that a setting accepts: a test, and words for the error. Needs no torch."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from headstart.errors import ConfigError, nearest

LARGEST = 3.4e38  # the largest number that float32 holds
LARGEST_WHOLE = 2**31 - 1  # the largest count that every library accepts
SMALLEST_RATE = 1e-38  # smaller learning rates are 0 in float32
MISSING = "???"  # OmegaConf's mark of a setting without a value


@dataclass(frozen=True)
class Leaf:
    """The values that one setting accepts."""

    fits: Callable[[Any], bool]
    expected: str  # follows "expected" in the error
    choices: tuple[str, ...] = ()  # the accepted words, if they are a closed list
    kind: str = ""  # the noun for a choice, as in "there is no such engine"
    part: "Leaf | None" = None  # the leaf of each value of a mapping; the error then names the wrong value

    def expecting(self, words: str) -> "Leaf":
        """Return a leaf with the same test and these words in the error."""
        return replace(self, expected=words)


def is_whole(value: object) -> bool:
    """Return whether a value is a whole number; true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Return whether a value is a number that float32 holds; true, false, infinity and NaN are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST


def number(low: float = -LARGEST, high: float = LARGEST, above: bool = False, below: bool = False) -> Leaf:
    """Return the leaf of a number from ``low`` to ``high``; ``above`` excludes ``low``, ``below`` excludes ``high``."""

    def fits(value: Any) -> bool:
        return (
            is_number(value) and (value > low if above else value >= low) and (value < high if below else value <= high)
        )

    return Leaf(fits, f"a number{_bounds(low, high, above, below)}")


def whole(low: int, high: int = LARGEST_WHOLE, such: str = "") -> Leaf:
    """Return the leaf of a whole number from ``low`` to ``high``."""
    words = f"a whole number from {low} to {high}"
    if high == LARGEST_WHOLE:
        words = "a whole number above 0" if low == 1 else f"a whole number of {low} or more"
    return Leaf(lambda value: is_whole(value) and low <= value <= high, words + such)


def boolean() -> Leaf:
    """Return the leaf of true or false."""
    return Leaf(lambda value: isinstance(value, bool), "true or false")


def one_of(*choices: Any, kind: str = "") -> Leaf:
    """Return the leaf of a closed list of words and numbers; ``kind`` names them in the error."""
    words = tuple(str(choice) for choice in choices)
    expected = f"one of {', '.join(words)}" if len(words) > 2 else " or ".join(words)
    return Leaf(lambda value: any(type(value) is type(choice) and value == choice for choice in choices), expected,
                words, kind)  # fmt: skip


def text(expected: str) -> Leaf:
    """Return the leaf of a name or path; a whole number counts as text. ``expected`` is for the error."""
    return Leaf(lambda value: (isinstance(value, str) and bool(value.strip())) or is_whole(value), expected)


def matching(pattern: str, expected: str) -> Leaf:
    """Return the leaf of text that matches a pattern."""
    return Leaf(lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None, expected)


def listed(part: Leaf, expected: str, least: int = 1, most: int | None = None, distinct: bool = False) -> Leaf:
    """Return the leaf of a list of ``least`` to ``most`` entries that fit ``part``; ``distinct`` forbids repeats."""

    def fits(value: Any) -> bool:
        return (
            is_list(value)
            and least <= len(value) <= (most or len(value))
            and all(part.fits(one) for one in value)
            and not (distinct and len(set(value)) < len(value))
        )

    return Leaf(fits, expected)


def pair(low: float, high: float, expected: str, whole_numbers: bool = False) -> Leaf:
    """Return the leaf of two numbers from ``low`` to ``high``, the smaller one first."""

    def fits(value: Any) -> bool:
        return (
            is_list(value)
            and len(value) == 2
            and all((is_whole if whole_numbers else is_number)(one) for one in value)
            and low <= value[0] <= value[1] <= high
        )

    return Leaf(fits, expected)


def mapping(expected: str, part: Leaf | None = None, names: Collection[str] | None = None) -> Leaf:
    """Return the leaf of a mapping; its values all fit ``part`` and its keys are among ``names``, where given."""

    def fits(value: Any) -> bool:
        return (
            isinstance(value, Mapping)
            and (part is None or all(part.fits(one) for one in value.values()))
            and (names is None or (bool(value) and set(value) <= set(names)))
        )

    return Leaf(fits, expected, part=part)


def either(*leaves: Leaf, words: str = "") -> Leaf:
    """Return the leaf of values that fit at least one of these leaves."""
    return Leaf(
        lambda value: any(leaf.fits(value) for leaf in leaves),
        words or ", or ".join(leaf.expected for leaf in leaves),
        tuple(choice for leaf in leaves for choice in leaf.choices),
    )


def optional(leaf: Leaf, words: str = "") -> Leaf:
    """Return the leaf of null and of values that fit ``leaf``."""
    return replace(
        leaf, fits=lambda value: value is None or leaf.fits(value), expected=words or f"{leaf.expected}, or null"
    )


def unset(instead: str) -> Leaf:
    """Return the leaf of a library's setting that headstart sets; only null fits."""
    return Leaf(lambda value: value is None, f"nothing, as headstart sets it; {instead}")


def is_list(value: Any) -> bool:
    """Return whether a value is a list or tuple; text is not."""
    return isinstance(value, Sequence) and not isinstance(value, str)


def as_list(value: Any) -> list[Any]:
    """Return one value or several as a list."""
    return list(value) if is_list(value) else [value]


def check_leaf(key: str, value: Any, leaf: Leaf) -> None:
    """Raise ConfigError for a value that does not fit its leaf; ``key`` names the setting."""
    if leaf.fits(value) or value == MISSING:
        return
    if leaf.part is not None and isinstance(value, Mapping):
        for name, one in value.items():
            check_leaf(f"{key}.{name}", one, leaf.part)
    value = list(value) if isinstance(value, tuple) else value  # as settings show it
    shown = str(value) if str(value).strip() else f"'{value}'"
    shown = shown if len(shown) <= 200 else f"{shown[:200]}..."
    hint = nearest(value, leaf.choices) if isinstance(value, str) and leaf.choices else ""
    if leaf.kind and isinstance(value, str):
        raise ConfigError(f"{key}={shown}: there is no such {leaf.kind}.{hint}")
    limit = f", below {LARGEST_WHOLE + 1}" if is_whole(value) and value > LARGEST_WHOLE else ""
    raise ConfigError(f"{key}={shown}: expected {leaf.expected}{limit}.{hint if hint.startswith(' Did') else ''}")


def check_plain(key: str, value: Any) -> None:
    """Raise ConfigError for a number anywhere in a value that float32 does not hold: NaN, infinity or a larger one."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            check_plain(f"{key}.{name}", part)
    elif is_list(value):
        for part in value:
            check_plain(key, part)
    elif isinstance(value, int | float) and not isinstance(value, bool) and not is_number(value):
        raise ConfigError(f"{key}={value}: expected a number that float32 can hold, so at most 3.4e38.")


def _bounds(low: float, high: float, above: bool, below: bool) -> str:
    if low == -LARGEST:
        return ""
    start = f" above {low:g}" if above else f" of at least {low:g}"
    if high == LARGEST:
        return start
    if not above and not below:
        return f" from {low:g} to {high:g}"
    return f"{start} and {'below' if below else 'at most'} {high:g}"
