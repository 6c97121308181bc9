"""Sort groups into panels. The groups of one panel are compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headstart.comparison.formats import panel_title
from headstart.comparison.table import RunGroup
from headstart.kinds import Kind, Metric
from headstart.records.keys import TASK, short_names, sort_value


@dataclass(frozen=True)
class Panel:
    """Groups that differ only in the compared keys, best first, with their references."""

    title: str
    by: tuple[str, ...]
    groups: tuple[RunGroup, ...]
    references: tuple[RunGroup, ...]
    key: Mapping[str, Any]
    """The settings that make the panel."""

    @property
    def kind(self) -> Kind:
        """Return the kind of target of all groups."""
        return self.groups[0].kind

    @property
    def metric(self) -> Metric:
        """Return the metric by which the groups are compared."""
        return self.groups[0].metric

    @property
    def best(self) -> RunGroup:
        """Return the group with the best mean on test."""
        return max(self.groups, key=lambda group: self.metric.gain(group.test.mean))

    @property
    def compared(self) -> str:
        """Return the names of the compared settings, e.g. "strategy" or "lr"."""
        return " and ".join(short_names(self.by).values()) or "run"


def make_panels(groups: Sequence[RunGroup]) -> list[Panel]:
    """Return a panel for every combination of the keys that are not compared, in a fixed order."""
    own = [group for group in groups if not group.reference]
    if not own:
        return []
    by = own[0].by
    panel_keys = [key for key in own[0].key if key not in by]
    members: dict[tuple[Any, ...], list[RunGroup]] = {}
    for group in own:
        members.setdefault(tuple(group.key[key] for key in panel_keys), []).append(group)
    shown = [key for key in panel_keys if len({group.key[key] for group in own}) > 1]
    panels = []
    for values in sorted(members, key=lambda values: [sort_value(value) for value in values]):
        key = dict(zip(panel_keys, values, strict=True))
        references = [group for group in groups if group.reference and _belongs(group, key)]
        panels.append(Panel(panel_title(key, shown), by, tuple(members[values]), tuple(references), key))
    return panels


def _belongs(reference: RunGroup, key: dict[str, Any]) -> bool:
    return all(
        reference.key[name] == value
        for name, value in key.items()
        if name in ("dataset", TASK) or name.startswith("dataset.")
    )
