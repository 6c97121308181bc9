"""List the kinds of targets, and find the kind of a run or of settings; loads no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headstart.errors import ConfigError, DataError
from headstart.kinds.classification import ClassKind
from headstart.kinds.dense_regression import DenseNumberKind
from headstart.kinds.kind import Kind, Predictions
from headstart.kinds.metric import Metric, stated_metric
from headstart.kinds.multilabel import LabelSetKind
from headstart.kinds.objectives import PatchKind, ReconstructionKind, ViewKind
from headstart.kinds.own import loaded_kinds, own_kind, recorded_kind
from headstart.kinds.regression import NumberKind
from headstart.kinds.segmentation import SegmentationKind
from headstart.kinds.several import SeveralKind
from headstart.settings.parts import MOST_PARTS, OPTIONS, PART_NAME, SEVERAL, given_parts, given_primary

__all__ = [
    "DEFAULT",
    "KINDS",
    "Kind",
    "Metric",
    "Predictions",
    "SeveralKind",
    "is_share",
    "kind_in",
    "kind_of",
    "metric_of",
    "metric_or_default",
    "task_name",
]

_ALL: Sequence[Kind] = (
    ClassKind(), NumberKind(), LabelSetKind(), SegmentationKind(), DenseNumberKind(),
    ReconstructionKind(), PatchKind(), ViewKind(),
)  # fmt: skip
KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _ALL}
DEFAULT = next(iter(KINDS))
"""The kind of a run whose run.json names no task: old runs, before there were other kinds."""


def kind_of(record: Mapping[str, Any]) -> Kind:
    """Return the kind of target of a run, from run.json. Raises DataError for an unknown one."""
    name = record.get("task", DEFAULT)
    if name == SEVERAL:
        return _several_in(record)
    if isinstance(name, str) and name not in KINDS:
        try:
            found = recorded_kind(name)
        except ConfigError as error:
            raise DataError(str(error).rstrip(".")) from error
        if found is not None:
            return found
    if not isinstance(name, str) or name not in KINDS:
        shown = repr(name)[:30]
        raise DataError(f"run.json has the task {shown}; this version knows {', '.join((*KINDS, SEVERAL))}")
    return KINDS[name]


def kind_in(task: Mapping[str, Any], name: str) -> Kind:
    """Return the kind of the task ``name`` with the settings ``task``. Raises ConfigError for wrong outputs."""
    if name != SEVERAL:
        return KINDS[name] if name in KINDS else own_kind(name)
    parts = given_parts(task.get("parts"))
    kinds = {part: KINDS[settings.kind] for part, settings in parts.items()}
    return SeveralKind(kinds, given_primary(task.get("primary"), parts), parts)


def _several_in(record: Mapping[str, Any]) -> SeveralKind:
    """Return the kind of a run with several outputs, from run.json. Raises DataError."""
    parts, stated = record.get("parts"), record.get("primary")
    primary = stated.get("part") if isinstance(stated, Mapping) else None
    if not isinstance(parts, Mapping) or not 0 < len(parts) <= MOST_PARTS or primary not in parts:
        raise DataError("run.json does not name its outputs and the primary one")
    for name, kind in parts.items():
        if not (isinstance(kind, str) and kind in OPTIONS and PART_NAME.fullmatch(str(name))):
            raise DataError(f"run.json has the output {str(name)[:40]!r} of an unknown kind")
    return SeveralKind({str(name): KINDS[kind] for name, kind in parts.items()}, str(primary))


def metric_of(record: Mapping[str, Any]) -> Metric:
    """Return the primary metric of a run, from run.json. Raises DataError for an invalid one."""
    kind = kind_of(record)
    return stated_metric(kind.primary, record.get("primary"), kind.earlier)


def metric_or_default(record: Mapping[str, Any]) -> Metric:
    """Return the primary metric of a run, or that of ``DEFAULT`` if run.json has no valid one."""
    try:
        return metric_of(record)
    except DataError:
        return KINDS[DEFAULT].primary


def task_name(record: Mapping[str, Any]) -> str:
    """Return the task of a run, with its metric unless it is the usual one. Only runs with equal texts are compared."""
    try:
        kind, metric = kind_of(record), metric_of(record)
    except DataError:
        return "unknown"
    title = kind.title if isinstance(kind, SeveralKind) else kind.name
    return title if metric == kind.primary else f"{title}, {metric.axis()}"


def is_share(name: str) -> bool:
    """Return whether a metric of run.json, such as test/accuracy, is a fraction of 1 that is shown in percent."""
    return any(name.rsplit("/", 1)[-1] in kind.shares for kind in (*KINDS.values(), *loaded_kinds()))
