"""Refuse unfair comparisons: runs on different test images, and runs selected on test images."""

from collections.abc import Iterable, Mapping, Sequence

from headstart.comparison.evidence import Evidence
from headstart.comparison.panels import Panel
from headstart.errors import DataError
from headstart.records.keys import PLACES
from headstart.records.runs import Run
from headstart.settings.effects import is_indifferent


def check_selection(runs: Iterable[Run], evidence: Mapping[str, Evidence]) -> None:
    """Raise DataError for a run whose epoch, setting or stop was chosen by its test images."""
    for run in runs:
        selection = run.get("selection")
        on = str(selection.get("on", "")) if isinstance(selection, dict) else ""
        monitors = {key: value for key, value in run.config.items() if key.endswith(".monitor")}
        wrong = next((f"{key}={value}" for key, value in monitors.items() if str(value).startswith("test")), None)
        if on.startswith("test"):
            wrong = f"selection on {on}"
        found = evidence.get(run.id)
        if wrong is None and found is not None and found.shared:
            wrong = f"validation images among its {len(found.per_image)} test images: {found.shared}"
        if wrong:
            raise DataError(
                f"{run.directory.name} was selected on test ({wrong}), so its test {run.metric.words} does not"
                " hold for new images; leave it out with --where."
            )


def check_test_sets(panels: Sequence[Panel], evidence: Mapping[str, Evidence]) -> None:
    """Raise DataError where runs of one panel, split and fold were tested on different images."""
    for panel in panels:
        first: dict[tuple[object, ...], Run] = {}
        for run in (run for group in panel.groups for run in group.runs):
            if run.id not in evidence:
                continue
            drawn = (run.config.get("dataset.folds"), run.fold, run.config.get("seeds.split"))
            other = first.setdefault(drawn, run)
            if not evidence[run.id].same_test(evidence[other.id]):
                sizes = [len(evidence[one.id].per_image) for one in (other, run)]
                counts = f"{sizes[0]} and {sizes[1]}" if sizes[0] != sizes[1] else f"{sizes[0]} each"
                raise DataError(
                    f"{other.directory.name} and {run.directory.name} were tested on different images ({counts}), so"
                    f" they cannot be compared{_difference(other, run)}."
                )


def _difference(one: Run, other: Run) -> str:
    """Return the data settings that differ, and how to compare the runs."""
    keys = sorted(
        key
        for key in one.config.keys() | other.config.keys()
        if key.startswith("dataset.")
        and (key in (*PLACES, "dataset.name") or not is_indifferent(key))
        and one.config.get(key) != other.config.get(key)
    )
    if not keys:
        return "; leave one out with --where, or give their data sets different names (dataset.name)"
    return f"; they differ in {', '.join(keys[:4])}: add --compare {keys[0]}, or choose with --where"
