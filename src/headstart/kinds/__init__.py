"""Kinds of targets, and which of them a run, or settings, are of; loads no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headstart.errors import DataError
from headstart.kinds.classification import ClassKind
from headstart.kinds.kind import Kind, Predictions
from headstart.kinds.metric import Metric, stated_metric
from headstart.kinds.multilabel import LabelSetKind
from headstart.kinds.regression import NumberKind
from headstart.kinds.segmentation import SegmentationKind

__all__ = [
    "DEFAULT",
    "KINDS",
    "Kind",
    "Metric",
    "Predictions",
    "is_share",
    "kind_of",
    "metric_of",
    "metric_or_default",
    "task_name",
]

_ALL: Sequence[Kind] = (ClassKind(), NumberKind(), LabelSetKind(), SegmentationKind())
KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _ALL}
DEFAULT = next(iter(KINDS))
"""What a run is whose run.json names no task: before there were others."""


def kind_of(record: Mapping[str, Any]) -> Kind:
    """Return the kind of target of a run, from run.json. Raises DataError for one that is not known."""
    name = record.get("task", DEFAULT)
    if not isinstance(name, str) or name not in KINDS:
        shown = repr(name)[:40]
        raise DataError(f"run.json has the task {shown}; this version knows {', '.join(KINDS)}")
    return KINDS[name]


def metric_of(record: Mapping[str, Any]) -> Metric:
    """Return the primary metric of a run, from run.json. Raises DataError for one that cannot be."""
    kind = kind_of(record)
    return stated_metric(kind.primary, record.get("primary"), kind.earlier)


def metric_or_default(record: Mapping[str, Any]) -> Metric:
    """Return the primary metric of a run in any state, that of the oldest kind where run.json does not say."""
    try:
        return metric_of(record)
    except DataError:
        return KINDS[DEFAULT].primary


def task_name(record: Mapping[str, Any]) -> str:
    """Return what two runs share that may be compared: the task, and its metric where it is not the usual one."""
    try:
        kind, metric = kind_of(record), metric_of(record)
    except DataError:
        return "unknown"
    return kind.name if metric == kind.primary else f"{kind.name}, {metric.axis()}"


def is_share(name: str) -> bool:
    """Return whether a metric of run.json, such as test/accuracy, is a fraction of 1 that is shown in percent."""
    return any(name.rsplit("/", 1)[-1] in kind.shares for kind in KINDS.values())
