"""Describe one comparison in one plain sentence."""

import math

from headstart.kinds.metric import POINTS, Wording
from headstart.statistics import Needed, PairedDifference
from headstart.statistics.power import MOST_RUNS


def verdict(
    name_a: str,
    name_b: str,
    difference: PairedDifference,
    p_adjusted: float | None = None,
    needed: Needed | None = None,
    units: str = "seeds",
    alpha: float = 0.05,
    wording: Wording = POINTS,
) -> str:
    """Return a sentence without full stop: which of two is better, or what is missing to decide.

    ``difference`` is what a gains over b; ``wording`` shows it, by default fractions of 1 as points. For several
    comparisons, ``p_adjusted`` is its p after Bonferroni's correction, and its interval has the corrected level.
    ``needed`` comes from ``sample_needed``; ``units`` names the paired runs in the plural.
    """
    if difference.difference < 0:
        name_a, name_b, difference = name_b, name_a, difference.negated
    p = difference.p_value if p_adjusted is None else p_adjusted
    adjusted = not math.isnan(p) and not math.isclose(p, difference.p_value, rel_tol=1e-9)
    p_text = "" if math.isnan(p) else f", {'adjusted ' if adjusted else ''}{_p(p)}"
    if difference.pairs == 1:
        return _single_pair(name_a, name_b, difference, p_text, p < alpha, wording)
    if difference.identical:
        alike = "score the same" if difference.images is None else f"{wording.alike} test images"
        return f"{name_a} and {name_b} {alike} in all {difference.pairs} {units}"
    size = _size(difference, wording)
    if p < alpha:
        return f"{wording.beats.format(a=name_a, b=name_b, size=size)}{p_text}"
    missing, lead = _missing(difference, needed, units), wording.lead.format(size=size)
    return f"{difference.pairs} {units} cannot separate {name_a} ({lead}) from {name_b}{p_text}{missing}"


def _single_pair(
    name_a: str, name_b: str, difference: PairedDifference, p_text: str, significant: bool, words: Wording
) -> str:
    """Return the sentence for a single pair of runs, which holds for these two networks only."""
    size = _size(difference, words)
    above = words.above.format(a=name_a, b=name_b, size=size)
    if difference.images is None:
        return above if difference.difference else f"{name_a} and {name_b} score the same"
    if difference.identical:
        return f"{name_a} and {name_b} {words.alike} {difference.images:,} test images"
    if significant:
        return f"{above} on {difference.images:,} test images{p_text}"
    lead = words.lead.format(size=size)
    return f"{difference.images:,} test images cannot separate {name_a} ({lead}) from {name_b}{p_text}"


def _missing(difference: PairedDifference, needed: Needed | None, units: str) -> str:
    """Return what would be enough for significance; empty if that is unknown or already reached."""
    if needed is None or difference.difference == 0:
        return ""
    if needed.runs is not None:
        return f": about {_about(needed.runs)} would" if needed.runs > difference.pairs else ""
    if difference.images is None:
        return f", and {MOST_RUNS:,} would not either"
    if needed.images is None:
        return f", and neither more {units} nor more test images alone would"
    too_few = f"the {difference.images:,} test images are too few, about {_about(needed.images)} would do"
    return f", and more {units} would not: {too_few}"


def _size(difference: PairedDifference, words: Wording) -> str:
    """Return the difference with its interval, where it has one."""
    size = words.size(difference.difference)
    return size if math.isnan(difference.low) else f"{size} {words.interval(difference.low, difference.high)}"


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
