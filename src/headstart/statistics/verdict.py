"""Describe one comparison in one plain sentence."""

import math
from dataclasses import replace

from headstart.statistics.paired import PairedDifference
from headstart.statistics.power import MOST_RUNS, Needed


def verdict(
    name_a: str,
    name_b: str,
    difference: PairedDifference,
    p_adjusted: float | None = None,
    needed: Needed | None = None,
    word: str = "seeds",
    alpha: float = 0.05,
) -> str:
    """Return a sentence on which of two is better, or what is missing to decide; it has no full stop.

    ``difference`` is a - b in fractions of 1. For several comparisons, ``p_adjusted`` is its p after Bonferroni's
    correction, and its interval has the corrected level. ``needed`` comes from ``sample_needed``; ``word`` names the
    paired runs in the plural.
    """
    if difference.difference < 0:
        name_a, name_b, difference = name_b, name_a, _swapped(difference)
    p = difference.p_value if p_adjusted is None else p_adjusted
    adjusted = not math.isnan(p) and not math.isclose(p, difference.p_value, rel_tol=1e-9)
    p_text = "" if math.isnan(p) else f", {'adjusted ' if adjusted else ''}{_p(p)}"
    if difference.pairs == 1:
        return _one(name_a, name_b, difference, p_text, p < alpha)
    if difference.identical:
        alike = "score the same" if difference.images is None else "are right on the same test images"
        return f"{name_a} and {name_b} {alike} in all {difference.pairs} {word}"
    size, interval = f"{_points(difference.difference)} points", _interval(difference)
    if p < alpha:
        return f"{name_a} beats {name_b} by {size}{interval}{p_text}"
    missing = _missing(difference, needed, word)
    return f"{difference.pairs} {word} cannot separate {name_a} (+{size}{interval}) from {name_b}{p_text}{missing}"


def _one(name_a: str, name_b: str, difference: PairedDifference, p_text: str, significant: bool) -> str:
    """Return the sentence for a single pair of runs, which is only about these two networks."""
    size = f"{_points(difference.difference)} points{_interval(difference)}"
    if difference.images is None:
        return (
            f"{name_a} is {size} above {name_b}" if difference.difference else f"{name_a} and {name_b} score the same"
        )
    if difference.identical:
        return f"{name_a} and {name_b} are right on the same {difference.images:,} test images"
    if significant:
        return f"{name_a} is {size} above {name_b} on {difference.images:,} test images{p_text}"
    return f"{difference.images:,} test images cannot separate {name_a} (+{size}) from {name_b}{p_text}"


def _missing(difference: PairedDifference, needed: Needed | None, word: str) -> str:
    """Return what would be enough for significance; empty if that is unknown, or reached already."""
    if needed is None or difference.difference == 0:
        return ""
    if needed.runs is not None:
        return f": about {_about(needed.runs)} would" if needed.runs > difference.pairs else ""
    if difference.images is None:
        return f", and {MOST_RUNS:,} would not either"
    if needed.images is None:
        return f", and neither more {word} nor more test images alone would"
    too_few = f"the {difference.images:,} test images are too few, about {_about(needed.images)} would do"
    return f", and more {word} would not: {too_few}"


def _swapped(difference: PairedDifference) -> PairedDifference:
    """Return b - a; ``other`` is not used here and stays unchanged."""
    return replace(difference, difference=-difference.difference, low=-difference.high, high=-difference.low)


def _interval(difference: PairedDifference) -> str:
    return "" if math.isnan(difference.low) else f" {interval_text(difference.low, difference.high)}"


def interval_text(low: float, high: float) -> str:
    """Return bounds in percent or points: [0.009, 0.027] gives "[0.9, 2.7]".

    More digits are shown if a nonzero bound would otherwise be shown as zero.
    """
    digits = next((n for n in range(1, 6) if all(bound == 0 or round(100 * bound, n) != 0 for bound in (low, high))), 6)
    return f"[{_points(low, digits)}, {_points(high, digits)}]"


def _points(value: float, digits: int = 1) -> str:
    """Return 0.018 as "1.8"; never "-0.0"."""
    return f"{round(100 * value, digits) + 0.0:.{digits}f}"


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {p_number(value)}" if value < 0.1 else f"p = {value:.2f}"


def p_number(value: float, alpha: float = 0.05) -> str:
    """Return p with three decimals, or more if rounding would cross alpha: 0.04997 gives "0.04997"."""
    texts = (f"{value:.{digits}f}" for digits in range(3, 17))
    return next((text for text in texts if (float(text) < alpha) == (value < alpha)), str(value))


def _about(number: int) -> str:
    """Round up to two digits, enough for an estimate: 11 gives "11", 857 gives "860"."""
    unit = 10 ** max(0, len(str(number)) - 2)
    return f"{math.ceil(number / unit) * unit:,}"
