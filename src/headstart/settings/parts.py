"""Read and check the outputs of task=several: kinds, columns, weights of losses. Needs no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headstart.errors import ConfigError, nearest
from headstart.settings.leaf_table import TASK
from headstart.settings.leaves import as_list, check_leaf, is_list, is_number, is_whole

SEVERAL = "several"
SEVERAL_TASK = "headstart.tasks.Several"
UNCERTAINTY = "uncertainty"
OPTIONS: Mapping[
    str, tuple[str, ...]
] = {  # the settings of each kind of output; the task of the same name has them too
    "classification": ("label_smoothing",),
    "regression": ("loss", "bins"),
    "multilabel": (),
}
PART_NAME = re.compile(r"[A-Za-z]\w{0,39}")
MOST_PARTS = 20
EXAMPLE = "task.parts={species: {kind: classification, column: label}, box: {kind: regression, columns: [x, y]}}"


@dataclass(frozen=True)
class PartSettings:
    """One output: its kind, the columns of its targets, and the settings of its task."""

    kind: str
    columns: tuple[str, ...]
    listed: bool  # whether the setting is ``columns``, a list, not ``column``, one name
    options: Mapping[str, Any]


def given_parts(parts: object) -> dict[str, PartSettings]:
    """Return task.parts, in order. Raises ConfigError for a wrong output, or a column of two outputs."""
    if not isinstance(parts, Mapping) or not parts:
        raise ConfigError(f"task.parts={parts}: task=several needs a mapping of outputs, as in {EXAMPLE}.")
    if len(parts) > MOST_PARTS:
        raise ConfigError(f"task.parts has {len(parts)} outputs; expected {MOST_PARTS} or fewer.")
    found = {str(name): _part(str(name), part) for name, part in parts.items()}
    if len({name.casefold() for name in found}) < len(found):
        raise ConfigError(f"task.parts names {', '.join(found)}: expected names that differ in more than case.")
    owner: dict[str, str] = {}
    for name, part in found.items():
        for column in part.columns:
            if column in owner:
                raise ConfigError(
                    f"task.parts.{name}: column '{column}' is also a target of '{owner[column]}'; each column belongs"
                    " to one output."
                )
            owner[column] = name
    return found


def given_weights(weights: object, parts: Mapping[str, PartSettings]) -> dict[str, float] | None:
    """Return the weight of each output's loss, 1 if ``weights`` does not name it; None if weights are learned.

    Raises ConfigError.
    """
    if weights == UNCERTAINTY:
        return None
    if weights is not None and not isinstance(weights, Mapping):
        hint = nearest(weights, [UNCERTAINTY]) if isinstance(weights, str) else ""
        raise ConfigError(
            f"task.weights={weights}: expected {UNCERTAINTY}, or a number for each output, as in"
            f" {{{next(iter(parts))}: 1}}.{hint if hint.startswith(' Did') else ''}"
        )
    given: Mapping[Any, Any] = weights or {}
    for name, value in given.items():
        if name not in parts:
            raise ConfigError(f"task.weights: task.parts has no output '{name}'.{nearest(str(name), parts)}")
        if not is_number(value) or value <= 0:
            raise ConfigError(f"task.weights.{name}={value}: expected a number above 0.")
    return {name: float(given.get(name, 1)) for name in parts}


def given_primary(primary: object, parts: Mapping[str, PartSettings]) -> str:
    """Return the output whose metric decides: ``primary``, or the first one for null. Raises ConfigError."""
    if primary is None:
        return next(iter(parts))
    if primary not in parts:
        raise ConfigError(f"task.primary={primary}: task.parts has no such output.{nearest(str(primary), parts)}")
    return str(primary)


def check_several(task: Mapping[str, Any], dataset: Mapping[str, Any]) -> None:
    """Raise ConfigError for settings of task=several that do not fit each other or the data set."""
    parts = given_parts(task.get("parts"))
    given_weights(task.get("weights"), parts)
    given_primary(task.get("primary"), parts)
    for name, neutral in (("targets", None), ("label_column", "label")):
        if dataset.get(name, neutral) != neutral:
            raise ConfigError(
                f"dataset.{name}={dataset[name]}: task=several reads the columns in task.parts; leave it out."
            )


def _part(name: str, part: object) -> PartSettings:
    if not PART_NAME.fullmatch(name):
        raise ConfigError(
            f"task.parts.{name}: expected a name of letters, digits and _, at most 40, that begins with a letter."
        )
    where = f"task.parts.{name}"
    if not isinstance(part, Mapping):
        raise ConfigError(f"{where}={part}: expected settings, as in {{kind: classification, column: label}}.")
    kind = part.get("kind")
    if not isinstance(kind, str) or kind not in OPTIONS:
        raise ConfigError(f"{where}.kind={kind}: expected one of {', '.join(OPTIONS)}.{_hint(kind, OPTIONS)}")
    known = ("kind", "column", "columns", *OPTIONS[kind])
    for key in part:
        if key not in known:
            raise ConfigError(f"{where}: kind={kind} has no setting '{key}'.{nearest(str(key), known)}")
    if ("column" in part) == ("columns" in part):
        raise ConfigError(f"{where}: expected column=NAME or columns=[NAME,NAME], one of the two.")
    listed = "columns" in part
    if listed and kind == "classification":
        raise ConfigError(f"{where}.columns: kind=classification reads one label, so name its column with column=NAME.")
    if listed != is_list(part["columns" if listed else "column"]):
        raise ConfigError(f"{where}: column is one name, columns a list, as in columns=[x,y].")
    columns = as_list(part["columns"] if listed else part["column"])
    for column in columns:
        if not (is_whole(column) or (isinstance(column, str) and column.strip())):
            raise ConfigError(f"{where}: expected the names of columns, not {column!r}.")
    if not columns or len({str(column) for column in columns}) < len(columns):
        raise ConfigError(f"{where}.columns={columns}: expected one or more columns, each once.")
    options = {key: part[key] for key in OPTIONS[kind] if key in part}
    for key, value in options.items():
        check_leaf(f"{where}.{key}", value, TASK[key])
    return PartSettings(kind, tuple(str(column) for column in columns), listed, options)


def _hint(value: object, choices: Mapping[str, Any]) -> str:
    hint = nearest(value, choices) if isinstance(value, str) else ""
    return hint if hint.startswith(" Did") else ""
