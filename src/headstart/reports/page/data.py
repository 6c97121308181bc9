"""Make the data for the page's script: runs with their configs, and charts, as JSON that is safe inside HTML."""

import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from headstart.kinds import is_share
from headstart.reports.page.content import Chart, Page, RunCard, Series

DIGITS = 6  # significant digits of drawn numbers; the CSV files hold them in full
BLOCK_START = re.compile(r"(?m)^(?=[^\s#\-])")


def script_data(page: Page) -> str:
    """Return everything the script needs, as the text of a <script type="application/json">."""
    blocks, configs = split_configs(run.config for run in page.runs)
    return safe_json(
        {
            "blocks": blocks,
            "runs": [_run(run, config) for run, config in zip(page.runs, configs, strict=True)],
            "charts": [_chart(chart) for chart in page.charts],
        }
    )


def split_configs(texts: Iterable[str]) -> tuple[list[str], list[list[int]]]:
    """Cut each YAML text at its top-level keys; return every distinct block once, and the block numbers of each text.

    Runs of one sweep share most blocks. Joining its blocks gives any text back exactly.
    """
    numbers: dict[str, int] = {}
    block_numbers = [
        [numbers.setdefault(block, len(numbers)) for block in BLOCK_START.split(text) if block] for text in texts
    ]
    return list(numbers), block_numbers


def safe_json(value: Any) -> str:
    """Return ASCII JSON without characters that could begin or end a tag."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def metric_name(name: str) -> str:
    """Return the words of a metric: test/balanced_accuracy gives "test balanced accuracy (%)"."""
    words = name.replace("/", " ").replace("_", " ")
    return f"{words} (%)" if is_share(name) else words


def metric_text(name: str, value: float) -> str:
    """Return a share in percent with one decimal, another number with four digits; "–" if it is not finite."""
    if not math.isfinite(value):
        return "–"
    return f"{100 * value:.1f}" if is_share(name) else f"{value:.4g}"


def _run(run: RunCard, config: list[int]) -> dict[str, Any]:
    return {
        "name": run.name,
        "directory": run.directory,
        "repeat": run.repeat_command,
        "train": run.train_command,
        "config": config,
        # pairs, as a JavaScript object moves keys that look like numbers to the front
        "facts": list(run.facts.items()),
        "metrics": [(metric_name(name), metric_text(name, value)) for name, value in run.metrics.items()],
    }


def _chart(chart: Chart) -> dict[str, Any]:
    return vars(chart) | {"series": [_series(series) for series in chart.series]}


def _series(series: Series) -> dict[str, Any]:
    numbers = {name: _rounded(getattr(series, name)) for name in ("x", "y", "low", "high")}
    return vars(series) | numbers | {"dash": "dot" if series.kind == "train" else series.dash}


def _rounded(values: Sequence[float | None]) -> list[float | int | None]:
    return [None if value is None or not math.isfinite(value) else _short(value) for value in values]


def _short(value: float) -> float | int:
    rounded = float(f"{value:.{DIGITS}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded
