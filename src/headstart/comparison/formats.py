"""Format numbers and names for the terminal, the page and the figures."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from headstart.comparison.table import RunGroup, Statistic
from headstart.kinds import Metric
from headstart.kinds.metric import NOTHING, interval_text
from headstart.records.keys import TASK, short_names


def percent(value: float, digits: int = 1) -> str:
    """Return a fraction of 1 in percent: 0.913 gives "91.3", NaN gives "–"."""
    return NOTHING if math.isnan(value) else f"{100 * value:.{digits}f}"


def accuracy(statistic: Statistic) -> str:
    """Return mean and deviation in percent, as in "91.3 ± 0.4"; one run gives "91.3 ± –"."""
    return f"{percent(statistic.mean)} ± {percent(statistic.deviation)}" if statistic.count else NOTHING


def mean_text(statistic: Statistic, metric: Metric) -> str:
    """Return mean and deviation without unit, as in "91.3 ± 0.4" or "0.412 ± 0.013"; one run gives "91.3 ± –"."""
    return metric.spread(statistic.mean, statistic.deviation) if statistic.count else NOTHING


def metric_heading(groups: Sequence[RunGroup], split: str) -> str:
    """Return the heading of a column of means: with the unit where all rows share a metric."""
    metrics = {group.metric for group in groups}
    return metrics.pop().heading(split) if len(metrics) == 1 else split


def mean_cell(statistic: Statistic, group: RunGroup, alone: bool) -> str:
    """Return mean and deviation; with name or unit of the metric unless it is ``alone`` in its column."""
    text, metric = mean_text(statistic, group.metric), group.metric
    if alone or not statistic.count:
        return text
    return f"{text} {metric.unit}" if metric.is_share else f"{metric.words} {text} {metric.unit}".rstrip()


def amount(value: float) -> str:
    """Return three digits with a unit, as in "3.41 M"; NaN gives "–"."""
    if math.isnan(value):
        return NOTHING
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= 0.9995 * limit:
            return f"{_three_digits(value / limit)}{unit}"
    return f"{value:.0f}" if float(value).is_integer() else _three_digits(value)


def setting(value: Any) -> str:
    """Return one value of a key on one line; None gives "–"."""
    return NOTHING if value is None else " ".join(str(value).split()) or '""'


def split_keys(groups: Sequence[RunGroup]) -> tuple[list[str], dict[str, Any]]:
    """Return the keys that get a column (compared, or with different values), and the other keys with their value."""
    own = [group for group in groups if not group.reference] or list(groups)
    keys = list(own[0].key) if own else []
    values = {key: list(dict.fromkeys(group.key[key] for group in own)) for key in keys}
    by = own[0].by if own else ()
    columns = [key for key in keys if len(values[key]) > 1 or key in by]
    return columns, {key: values[key][0] for key in keys if key not in columns}


def shared_settings(constant: Mapping[str, Any]) -> str:
    """Return settings as text, as in "backbone resnet18, augmentation none"; empty for none."""
    names = short_names(list(constant))
    return ", ".join(f"{names[key]} {setting(value)}" for key, value in constant.items())


def interval(low: float, high: float) -> str:
    """Return an interval in percent, as in "[90.1, 92.5]"; "–" if there is none."""
    return NOTHING if math.isnan(low) else interval_text(low, high)


def panel_title(key: Mapping[str, Any], shown: Sequence[str]) -> str:
    """Return the title of a panel: the settings that differ between panels, or else the data set."""
    names = short_names(list(shown))
    parts = []
    for name, short in names.items():
        value = setting(key[name])
        parts.append(
            value if name in ("dataset", "backbone", "augmentation", TASK) else f"{short.replace('_', ' ')} {value}"
        )
    if not parts:
        parts = [setting(key["dataset"])] if "dataset" in key else ["all runs"]
    return ", ".join(parts)


def _three_digits(value: float) -> str:
    size = abs(value)
    return f"{value:.2f}" if size < 9.995 else f"{value:.1f}" if size < 99.95 else f"{value:.0f}"
