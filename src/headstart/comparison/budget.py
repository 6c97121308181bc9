"""Count the tuning cost of a reported number: runs tried, seconds, and the rule of choice."""

from collections.abc import Sequence
from dataclasses import dataclass

from headstart.comparison.table import RunGroup
from headstart.records.keys import short_names, value_of
from headstart.records.runs import Run


@dataclass(frozen=True)
class Budget:
    """The tuning budget of one row."""

    runs: int
    """All runs that were tried, including the reported ones."""
    settings: int
    """Different values of the tuned settings among them."""
    seconds: float
    """Their total training time, without test passes; NaN if no run records it."""
    candidates: int
    """Epochs or settings that validation compared inside these runs; a run that records none counts as 1."""
    rule: str
    """How the reported network was chosen."""


def budget_of(group: RunGroup) -> Budget:
    """Return the budget of a row; it is empty for a reference."""
    if group.reference:
        return Budget(0, 0, float("nan"), 0, "")
    tried = group.tried or group.runs
    settings = {tuple(value_of(run, key) for key in group.tuned) for run in tried}
    seconds = [run.cost["train_seconds"] for run in tried if "train_seconds" in run.cost]
    parts = [_own_choices(group.runs)]
    names = short_names(list(group.tuned))
    for key, value in group.tuned.items():
        count = len({value_of(run, key) for run in tried})
        parts.append(f"{names[key]} {value}, the best of {count}{_seeds_compared(group)}")
    choice = "; ".join(part for part in parts if part)
    return Budget(
        len(tried),
        len(settings),
        sum(seconds) if seconds else float("nan"),
        sum(sum(choices_of(run).values()) or 1 for run in tried),
        f"{choice}, on validation" if choice else "–",
    )


def choices_of(run: Run) -> dict[str, int]:
    """Return how many candidates validation compared inside a run, by name; only where there were two or more."""
    selection = run.get("selection")
    if not isinstance(selection, dict):
        return {}
    choices = selection.get("choices")
    if not isinstance(choices, dict):  # a run of an earlier version records the rule and a number
        rule = selection.get("rule")
        choices = {rule.split(" ")[0]: selection.get("tried")} if isinstance(rule, str) else {}
    return {str(name): tried for name, tried in choices.items() if isinstance(tried, int) and tried > 1}


def _seeds_compared(group: RunGroup) -> str:
    """Return the number of seeds, or folds, on which settings were compared, as text."""
    unit = "seed" if all(run.fold is None for run in group.runs) else "fold"
    return f" on {group.tuned_on} shared {unit}{'' if group.tuned_on == 1 else 's'}" if group.tuned_on else ""


def _own_choices(runs: Sequence[Run]) -> str:
    """Return what each run chose by itself, as text: its best epoch, its best setting, or both."""
    texts = {", ".join(f"{name} of {tried}" for name, tried in choices_of(run).items()) for run in runs}
    return " or ".join(f"best {text}" for text in sorted(texts - {""}))
