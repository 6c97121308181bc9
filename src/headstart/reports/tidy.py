"""Write tables for other programs: one row per group, run, comparison or class; shares are fractions of 1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headstart.comparison.table import RunGroup
from headstart.records.keys import BASE_KEYS, value_of
from headstart.records.runs import run_order
from headstart.reports.analysis import Analysis
from headstart.statistics import bootstrap_mean

if TYPE_CHECKING:
    import pandas as pd


def group_frame(analysis: Analysis) -> pd.DataFrame:
    """Return one row per group: its keys, means with both intervals, further scores, costs and budget."""
    import pandas as pd

    rows = []
    for group, budget in zip(analysis.groups, analysis.budgets, strict=True):
        low, high = group.test.interval
        scores = [run.test for run in group.runs if not group.reference]
        drawn = bootstrap_mean(scores) if scores else None
        test, validation = (f"{split}_{group.metric.name}" for split in ("test", "validation"))
        rows.append(
            {
                **group.key,
                "reference": group.reference,
                "runs": group.test.count,
                f"{test}_mean": group.test.mean,
                f"{test}_deviation": group.test.deviation,
                f"{test}_low": low,
                f"{test}_high": high,
                f"{test}_bootstrap_low": drawn.low if drawn else None,
                f"{test}_bootstrap_high": drawn.high if drawn else None,
                f"{validation}_mean": group.validation.mean,
                f"{validation}_deviation": group.validation.deviation,
                **{
                    f"test_{name}_mean": analysis.score(group, name).mean
                    for name in group.kind.beyond
                    if name != group.metric.name
                },
                **_robustness_of(analysis, group),
                **{
                    name: group.cost(name)
                    for name in ("train_seconds", "trainable_parameters", "total_parameters", "samples_per_second")
                },
                "runs_tried": budget.runs,
                "settings_tried": budget.settings,
                "seconds_tried": budget.seconds,
                "candidates_tried": budget.candidates,
                "chosen": budget.rule,
            }
        )
    return pd.DataFrame(rows)


def runs_frame(analysis: Analysis) -> pd.DataFrame:
    """Return one row per run: id, keys, seeds, metrics, further scores, costs, references and directory."""
    import pandas as pd

    keys = dict.fromkeys([*BASE_KEYS, *analysis.groups[0].key, "seed"])
    streams = sorted({key for run in analysis.runs for key in run.config if key.startswith("seeds.")})
    rows = []
    for run in sorted(analysis.runs, key=run_order):
        row: dict[str, Any] = {"id": run.id}
        row.update({key: value_of(run, key) for key in (*keys, *streams)})
        row["fold"] = run.fold
        row.update(run.metrics)
        if run.id in analysis.evidence:
            row.update({f"test/{name}": value for name, value in analysis.evidence[run.id].numbers.items()})
        if analysis.robustness is not None and run.id in analysis.robustness.runs:
            known = analysis.robustness.runs[run.id]
            row.update({"test/mce": known.mean_error, "test/relative_mce": known.relative_error})
        row.update(run.cost)
        for name, values in run.references.items():
            row.update({f"references/{name}/{metric}": value for metric, value in values.items()})
        row["skipped"] = run.skipped
        row["directory"] = str(run.directory)
        rows.append(row)
    return pd.DataFrame(rows)


def _robustness_of(analysis: Analysis, group: RunGroup) -> dict[str, float]:
    """Return mean corruption errors; empty if no run was measured."""
    found = analysis.robustness
    if found is None:
        return {}
    mce, relative = found.mce(group), found.relative(group)
    return {
        "test_mce_mean": mce.mean,
        "test_mce_deviation": mce.deviation,
        "test_mce_low": mce.interval[0],
        "test_mce_high": mce.interval[1],
        "test_mce_runs": mce.count,
        "test_relative_mce_mean": relative.mean,
        "test_relative_mce_deviation": relative.deviation,
    }


def recalls_frame(analysis: Analysis) -> pd.DataFrame:
    """Return one row per class and group: recall averaged over its runs. It is empty for targets without classes."""
    import pandas as pd

    rows = []
    for group in analysis.groups:
        found = analysis.recalls(group)
        if found is not None:
            rows += [{**group.key, "class": name, "recall": recall} for name, recall in zip(*found, strict=True)]
    return pd.DataFrame(rows)
