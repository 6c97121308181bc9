"""Choose runs by conditions: augmentation=none, seed=0,1, strategy!=scratch, optimizer.lr<0.01."""

import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

import yaml

from headstart.errors import ConfigError
from headstart.records.keys import RANDOM, WEIGHTS, resolve_key, value_of, value_text
from headstart.records.runs import Run

ORDERED: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
CONDITION = re.compile(r"\s*([\w.+-]+?)\s*(!=|<=|>=|=|<|>)(.*)", re.DOTALL)


def choose(runs: Sequence[Run], conditions: Sequence[str]) -> list[Run]:
    """Return the runs that meet every condition. Raises ConfigError for one that is malformed or that no run meets."""
    kept = list(runs)
    for condition in conditions:
        found = CONDITION.fullmatch(condition)
        if not found:
            raise ConfigError(
                f"--where '{condition}' is not a condition; expected a setting, one of = != < <= > >=, and a value, as"
                " in 'augmentation=none' or 'seed=0,1'."
            )
        key, sign, text = resolve_key(found[1], runs), found[2], found[3].strip()
        if key == WEIGHTS:
            text = re.sub(r"(?<![^,\s])null(?![^,\s])", RANDOM, text)
        before = kept
        kept = [run for run in kept if _meets(value_of(run, key), sign, text, condition)]
        if not kept:
            values = ", ".join(sorted({value_text(value_of(run, key)) for run in before})[:12])
            raise ConfigError(f"--where '{condition}' leaves no run; values of {found[1]}: {values}.")
    return kept


def _meets(value: Any, sign: str, text: str, condition: str) -> bool:
    if sign in ORDERED:
        limit = _scalar(text)
        if not is_number(limit):
            raise ConfigError(f"--where '{condition}': '{text}' is not a number.")
        return is_number(value) and ORDERED[sign](value, limit)
    wanted = [text, *text.split(",")]  # a value may hold commas itself
    hit = any(_equal(value, one.strip()) for one in wanted)
    return hit if sign == "=" else not hit


def _equal(value: Any, text: str) -> bool:
    if text in (str(value), value_text(value)):
        return True
    number = _scalar(text)
    return is_number(number) and is_number(value) and bool(number == value)


def is_number(value: object) -> bool:
    """Return whether the value is an integer or a float."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _scalar(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text
