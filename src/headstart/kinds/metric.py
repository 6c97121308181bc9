"""Define the metric that decides between runs: its name, its better direction, and the text of its values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

from headstart.errors import DataError
from headstart.report_table import NOTHING

NAME = re.compile(r"[A-Za-z]\w{0,39}")
LONGEST_UNIT = 20
DIGITS = 3
"""Significant digits of values that are no shares."""
EXACT = 6
"""Significant digits of such values where two are compared."""
CLOSE = 1e-4
"""The largest difference allowed between run.json and predictions; relative for metrics without an upper bound."""


@dataclass(frozen=True)
class Wording:
    """The parts of a sentence on the difference of two groups a and b, where a has the better mean."""

    size: Callable[[float], str]
    """Returns the text of a difference that is not negative, with its unit."""
    interval: Callable[[float, float], str]
    """Returns the text of the bounds of such a difference."""
    beats: str = "{a} beats {b} by {size}"
    above: str = "{a} is {size} above {b}"
    lead: str = "+{size}"
    """The lead of a, if it is not significant."""
    alike: str = "score the same on the same"
    """For two groups that are equal on every image; the number of test images follows."""


def interval_text(low: float, high: float) -> str:
    """Return bounds in percent or points: [0.009, 0.027] -> "[0.9, 2.7]".

    It has enough digits that no bound is rounded to zero.
    """
    digits = next((n for n in range(1, 6) if all(bound == 0 or round(100 * bound, n) != 0 for bound in (low, high))), 6)
    return f"[{_points(low, digits)}, {_points(high, digits)}]"


def _points(value: float, digits: int = 1) -> str:
    """Return a difference in points: "1.8" for 0.018; never "-0.0"."""
    return f"{round(100 * value, digits) + 0.0:.{digits}f}"


POINTS = Wording(lambda value: f"{_points(value)} points", interval_text, alike="are right on the same")
"""Differences of accuracy, given as fractions of 1."""


@dataclass(frozen=True)
class Metric:
    """A number that summarises a run; with the unit "%" it is a share, kept as a fraction of 1 and shown in percent."""

    name: str
    higher_is_better: bool
    unit: str = ""
    bounds: tuple[float, float] = (-math.inf, math.inf)
    long: str = ""
    """The name in full, where ``name`` is an abbreviation."""
    many: str = ""
    """The plural of ``long``."""
    short: str = ""
    """The name as tables and messages write it, if it differs from ``name``."""

    @property
    def title(self) -> str:
        """Return the name in full."""
        return self.long or self.words

    @property
    def plural(self) -> str:
        """Return the plural of the name in full."""
        return self.many or f"values of {self.title}"

    @property
    def is_share(self) -> bool:
        """Return whether values are fractions of 1 that are shown in percent."""
        return self.unit == "%"

    @property
    def scale(self) -> float:
        """Return the factor that turns a stored value into the shown one."""
        return 100 if self.is_share else 1

    @property
    def mode(self) -> Literal["max", "min"]:
        """Return "max" or "min", as Lightning calls the better direction."""
        return "max" if self.higher_is_better else "min"

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """Return "maximize" or "minimize", as Optuna calls the better direction."""
        return "maximize" if self.higher_is_better else "minimize"

    @property
    def words(self) -> str:
        """Return the name for tables and messages."""
        return self.short or self.name.replace("_", " ")

    def gain(self, value: float) -> float:
        """Return the value, or a difference, with its sign set so that more is better."""
        return value if self.higher_is_better else 0.0 - value

    def best(self, values: Iterable[float]) -> float:
        """Return the best value, ignoring NaN; NaN if there is no number."""
        known = [value for value in values if not math.isnan(value)]
        return max(known, key=self.gain) if known else math.nan

    def clipped(self, value: float) -> float:
        """Return the value moved into the bounds."""
        return min(max(value, self.bounds[0]), self.bounds[1])

    def agrees(self, a: float, b: float, close: float = CLOSE) -> bool:
        """Return whether two values differ only by rounding in single precision.

        For a metric with an upper bound, such as R², rounding errors near 0 are as large as near 1.
        """
        return abs(a - b) <= close * max(abs(a), abs(b), 1 if math.isfinite(self.bounds[1]) else 0)

    def check(self, name: str, value: float) -> None:
        """Raise DataError for a value outside the bounds."""
        low, high = self.bounds
        if not low <= value <= high:
            where = f"between {low:g} and {high:g}" if math.isfinite(low) and math.isfinite(high) else "possible"
            raise DataError(f"run.json has a {name} of {value:g}, which is not {where}")

    # --- texts

    def heading(self, split: str) -> str:
        """Return the heading of a column: "test (%)", "test mae", "test mae (years)"."""
        name = split if self.is_share else f"{split} {self.words}"
        return f"{name} ({self.unit})" if self.unit else name

    def axis(self, split: str = "") -> str:
        """Return the title of an axis: "test accuracy (%)", "mae"."""
        name = f"{split} {self.words}".strip()
        return f"{name} ({self.unit})" if self.unit else name

    def number(self, value: float) -> str:
        """Return a value without its unit: "91.3", "0.412"; "–" for NaN."""
        if math.isnan(value):
            return NOTHING
        return f"{100 * value:.1f}" if self.is_share else significant(value)

    def spread(self, mean: float, deviation: float) -> str:
        """Return mean and deviation without unit, as in "91.3 ± 0.4" or "0.412 ± 0.013"; "91.3 ± –" where NaN."""
        mean_text, text = self.number(mean), self.number(deviation)
        decimals = len(mean_text.partition(".")[2])
        if not self.is_share and "e" not in mean_text and round(deviation if text != NOTHING else 0.0, decimals):
            text = f"{deviation:.{decimals}f}"
        return f"{mean_text} ± {text}"

    def text(self, value: float) -> str:
        """Return a value with its unit: "91.3 %", "0.412 years"."""
        return self._with_unit(self.number(value))

    def exact(self, value: float) -> str:
        """Return a value with more digits, for comparing two of them: "91.33 %", "0.412345"."""
        return self._with_unit(self.exact_number(value))

    def exact_number(self, value: float) -> str:
        """Return a value without its unit, with more digits than ``number``."""
        return NOTHING if math.isnan(value) else f"{100 * value:.2f}" if self.is_share else f"{value:.{EXACT}g}"

    def exact_pair(self, mean: float, deviation: float) -> str:
        """Return mean and deviation with more digits: "91.33 ± 0.45 %"."""
        if self.is_share:
            return f"{100 * mean:.2f} ± {100 * deviation:.2f} %"
        return self._with_unit(f"{mean:.{EXACT}g} ± {deviation:.2g}")

    def exact_difference(self, value: float) -> str:
        """Return a signed difference: "+1.33 points", "-0.0123"."""
        return f"{100 * value:+.2f} points" if self.is_share else self._with_unit(f"{value:+.4g}")

    def named(self, value: float) -> str:
        """Return a value for a cell whose heading does not name the metric: "91.3 %", "mae 0.412"."""
        return self.text(value) if self.is_share else f"{self.words} {self.text(value)}"

    def size(self, value: float) -> str:
        """Return the size of a difference, with its unit: "1.8 points", "0.412 years"."""
        return POINTS.size(value) if self.is_share else self._with_unit(significant(value))

    def interval(self, low: float, high: float) -> str:
        """Return the bounds as text, "[90.1, 92.5]", or "–" for NaN."""
        if math.isnan(low):
            return NOTHING
        return interval_text(low, high) if self.is_share else _interval(low, high)

    @property
    def wording(self) -> Wording:
        """Return the parts of a sentence on a difference, given as a gain."""
        if self.is_share and self.higher_is_better:
            return POINTS
        side = "higher" if self.higher_is_better else "lower"
        return Wording(
            size=lambda value: f"{self.size(value)} {side} {self.words}",
            interval=self.interval,
            beats="{a} beats {b}: {size}",
            above="{a} has {size} than {b}",
            lead="{size}",
        )

    def _with_unit(self, text: str) -> str:
        return text if not self.unit or text == NOTHING else f"{text} {self.unit}"


def stated_metric(primary: Metric, stated: object, earlier: Mapping[str, Metric] = MappingProxyType({})) -> Metric:
    """Return the primary metric ``stated`` in run.json; if it is None, return ``primary``, the metric of the kind.

    ``earlier`` has the former metrics of the kind. The unit may differ, as it is that of the targets. Raises DataError
    for an invalid metric.
    """
    if stated is None:
        return primary
    if not isinstance(stated, Mapping):
        raise DataError("run.json has a primary metric that is not an object")
    entries: Mapping[str, Any] = stated
    name, higher, unit = entries.get("name"), entries.get("higher_is_better"), entries.get("unit") or ""
    if not (isinstance(name, str) and NAME.fullmatch(name) and isinstance(higher, bool)):
        raise DataError("run.json has a primary metric without a valid name or higher_is_better")
    if not (isinstance(unit, str) and unit.isprintable() and len(unit) <= LONGEST_UNIT):
        raise DataError("run.json has a primary metric with an invalid unit")
    known = primary if name == primary.name else earlier.get(name)
    if known is None:
        return Metric(name, higher, unit)
    if higher != known.higher_is_better or (unit == "%") != known.is_share:
        raise DataError(f"run.json has the wrong higher_is_better or unit for {name}")
    return replace(known, unit=unit)


def _decimals(size: float, digits: int) -> int:
    return max(0, digits - 1 - math.floor(math.log10(size))) if size else digits - 1


def significant(value: float, digits: int = DIGITS) -> str:
    """Return a number with ``digits`` significant digits, or more if more stand before the decimal point."""
    size = abs(value)
    if size and not 1e-4 <= size < 1e7:
        return f"{value:.{digits}g}"
    decimals = _decimals(size, digits)
    return f"{round(value, decimals) + 0.0:.{decimals}f}"


def _interval(low: float, high: float) -> str:
    """Return bounds with the decimals that the larger one needs, or more, so that none is rounded to zero."""
    largest = max(abs(low), abs(high))
    if largest and not 1e-4 <= largest < 1e7:
        return f"[{low:.{DIGITS}g}, {high:.{DIGITS}g}]"
    first = _decimals(largest, DIGITS)
    enough = (n for n in range(first, first + 4) if all(end == 0 or round(end, n) != 0 for end in (low, high)))
    decimals = next(enough, first + 4)
    return f"[{round(low, decimals) + 0.0:.{decimals}f}, {round(high, decimals) + 0.0:.{decimals}f}]"
