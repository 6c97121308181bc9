"""What a reported number cost to find: runs tried, seconds, and by what rule the reported ones were chosen."""

from collections.abc import Sequence
from dataclasses import dataclass

from headstart.reports.keys import short_names, value_of
from headstart.reports.read import Run
from headstart.reports.table import Group


@dataclass(frozen=True)
class Budget:
    """The tuning budget of one row."""

    runs: int
    """All that were tried, those reported included."""
    settings: int
    """Different values of the tuned settings among them."""
    seconds: float
    """Their training time together, without test passes; NaN where no run says it."""
    rule: str
    """How the reported network was chosen."""


def budget_of(group: Group) -> Budget:
    """The budget of a row; of a reference, that of nothing."""
    if group.reference:
        return Budget(0, 0, float("nan"), "")
    tried = group.tried or group.runs
    settings = {tuple(value_of(run, key) for key in group.tuned) for run in tried}
    seconds = [run.cost["train_seconds"] for run in tried if "train_seconds" in run.cost]
    parts = [_inside(group.runs)]
    names = short_names(list(group.tuned))
    for key, value in group.tuned.items():
        count = len({value_of(run, key) for run in tried})
        parts.append(f"{names[key]} {value}, the best of {count}")
    told = "; ".join(part for part in parts if part)
    return Budget(
        len(tried), len(settings), sum(seconds) if seconds else float("nan"), f"{told}, on validation" if told else "–"
    )


def _inside(runs: Sequence[Run]) -> str:
    """What each run chose by itself: its best epoch, or its best setting."""
    told = set()
    for run in runs:
        selection = run.record.get("selection")
        if not isinstance(selection, dict) or not isinstance(selection.get("rule"), str):
            continue
        tried, what = selection.get("tried"), selection["rule"].split(" ")[0]
        if isinstance(tried, int) and tried > 1:
            told.add(f"best {what} of {tried}")
    return " or ".join(sorted(told))
