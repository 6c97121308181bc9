"""Groups to panels: what is compared side by side in one picture and one finding."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headstart.reports.formats import panel_title
from headstart.reports.table import Group, series_key, sort_value


@dataclass(frozen=True)
class Panel:
    """Groups that differ in the compared key only, best first, with the references that belong to them."""

    title: str
    series: str | None
    groups: tuple[Group, ...]
    references: tuple[Group, ...]

    def label(self, group: Group) -> str:
        """Name of the group inside this panel."""
        return "all runs" if self.series is None else str(group.key[self.series])


def make_panels(groups: Sequence[Group]) -> list[Panel]:
    """One panel for every combination of the keys other than the compared one, in a fixed order."""
    own = [group for group in groups if not group.reference]
    if not own:
        return []
    keys = list(own[0].key)
    series = series_key(keys)
    panel_keys = [key for key in keys if key != series]
    members: dict[tuple[Any, ...], list[Group]] = {}
    for group in own:
        members.setdefault(tuple(group.key[key] for key in panel_keys), []).append(group)
    shown = [key for key in panel_keys if len({group.key[key] for group in own}) > 1]
    panels = []
    for values in sorted(members, key=lambda values: [sort_value(value) for value in values]):
        key = dict(zip(panel_keys, values, strict=True))
        references = [group for group in groups if group.reference and _belongs(group, key)]
        panels.append(Panel(panel_title(key, shown), series, tuple(members[values]), tuple(references)))
    return panels


def _belongs(reference: Group, key: dict[str, Any]) -> bool:
    return all(
        reference.key[name] == value for name, value in key.items() if name == "dataset" or name.startswith("dataset.")
    )
