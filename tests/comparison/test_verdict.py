"""Test the sentences of verdicts, word for word."""

import math
from typing import Any

import numpy as np
import pytest

from headstart.comparison.verdict import p_number, verdict
from headstart.kinds.metric import interval_text
from headstart.statistics import Needed, PairedDifference, paired_both, paired_runs, sample_needed


def made(difference: float, low: float, high: float, p: float, pairs: int = 3, images: int | None = 153) -> Any:
    return PairedDifference(difference, low, high, p, 1.0, pairs, images, "test")


def test_one_is_better() -> None:
    found = made(0.018, 0.009, 0.027, 0.004)
    expected = "finetune_all beats head_only by 1.8 points [0.9, 2.7], p = 0.004"
    assert verdict("finetune_all", "head_only", found) == expected
    turned = made(-0.018, -0.027, -0.009, 0.004)
    assert verdict("head_only", "finetune_all", turned) == expected
    assert verdict("a", "b", made(0.018, 0.009, 0.027, 0.0004)) == "a beats b by 1.8 points [0.9, 2.7], p < 0.001"
    assert verdict("a", "b", found, 0.012).endswith("[0.9, 2.7], adjusted p = 0.012")
    assert verdict("a", "b", found, 0.004).endswith("[0.9, 2.7], p = 0.004")


def test_two_cannot_be_separated() -> None:
    found = made(0.006, -0.011, 0.023, 0.41)
    start = "3 seeds cannot separate finetune_all (+0.6 points [-1.1, 2.3]) from head_only, p = 0.41"

    def said(needed: Needed | None, **more: Any) -> str:
        return verdict("finetune_all", "head_only", found, None, needed, **more)

    assert said(None) == start
    assert said(Needed(11, None)) == f"{start}: about 11 would"
    assert said(Needed(1234, 900)) == f"{start}: about 1,300 would"
    assert said(Needed(3, None)) == start  # enough runs are there already
    too_few = ", and more seeds would not: the 153 test images are too few, about 900 would do"
    assert said(Needed(None, 893)) == start + too_few
    assert said(Needed(None, None)) == f"{start}, and neither more seeds nor more test images alone would"
    folds = said(Needed(None, 893), units="folds")
    assert folds.startswith("3 folds cannot")
    assert "more folds would not" in folds
    turned = made(-0.006, -0.023, 0.011, 0.41)
    assert verdict("head_only", "finetune_all", turned) == start
    runs = made(0.006, -0.011, 0.023, 0.41, images=None)
    assert verdict("a", "b", runs, None, Needed(None, None)).endswith("p = 0.41, and 10,000 would not either")


def test_the_adjusted_p_decides() -> None:
    found = made(0.018, 0.001, 0.035, 0.03)
    assert verdict("a", "b", found, 0.09).startswith(
        "3 seeds cannot separate a (+1.8 points [0.1, 3.5]) from b, adjusted p"
    )
    assert verdict("a", "b", found, 0.03, alpha=0.01).startswith("3 seeds cannot separate")


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0.009, 0.027, "[0.9, 2.7]"),
        (0.0003, 0.027, "[0.03, 2.70]"),
        (-0.00002, 0.5, "[-0.002, 50.000]"),
        (0.0, 0.0, "[0.0, 0.0]"),
        (-1e-12, 1.0, "[0.000000, 100.000000]"),
    ],
)
def test_a_bound_that_is_not_zero_does_not_read_as_zero(low: float, high: float, text: str) -> None:
    assert interval_text(low, high) == text


@pytest.mark.parametrize(
    ("p", "text"), [(0.0123, "0.012"), (0.0496, "0.0496"), (0.049997, "0.049997"), (0.05, "0.050"), (0.0503, "0.050")]
)
def test_p_stays_on_its_side_of_5_percent(p: float, text: str) -> None:
    assert p_number(p) == text


def test_no_difference() -> None:
    same = np.ones((3, 20))
    needed = sample_needed(paired_both(same, same))
    said = verdict("a", "b", paired_both(same, same), None, needed)
    assert said == "a and b are right on the same test images in all 3 seeds"
    folds = verdict("a", "b", paired_runs([0.8, 0.9], [0.8, 0.9]), units="folds")
    assert folds == "a and b score the same in all 2 folds"
    zero = made(0.0, -0.0004, 0.0004, 1.0)
    assert verdict("a", "b", zero, None, Needed(None, None)) == (
        "3 seeds cannot separate a (+0.0 points [-0.04, 0.04]) from b, p = 1.00"
    )


def test_one_seed() -> None:
    found = made(0.018, 0.001, 0.035, 0.04, pairs=1)
    assert verdict("a", "b", found) == "a is 1.8 points [0.1, 3.5] above b on 153 test images, p = 0.040"
    unclear = "153 test images cannot separate a (+1.8 points [-0.1, 3.5]) from b, adjusted p = 0.080"
    assert verdict("a", "b", made(0.018, -0.001, 0.035, 0.04, pairs=1), 0.0801) == unclear
    alike = "153 test images cannot separate a (+0.0 points [-1.0, 1.0]) from b, p = 1.00"
    assert verdict("a", "b", made(0, -0.01, 0.01, 1, pairs=1)) == alike
    same = paired_both(np.ones((1, 153)), np.ones((1, 153)))
    assert verdict("a", "b", same) == "a and b are right on the same 153 test images"
    assert verdict("a", "b", paired_runs([0.7], [0.8])) == "b is 10.0 points above a"
    assert verdict("a", "b", paired_runs([0.8], [0.8])) == "a and b score the same"


def test_bounds_and_p_that_are_not_known_are_not_shown() -> None:
    shifted = verdict("a", "b", paired_runs([0.9, 0.8, 0.7], [0.8, 0.7, 0.6]))
    assert shifted == "3 seeds cannot separate a (+10.0 points) from b, p = 0.25"
    folds = verdict("a", "b", paired_runs([0.9, 0.8], [0.8, 0.7], overlap=0.5), units="folds")
    assert folds == "2 folds cannot separate a (+10.0 points) from b"
    assert verdict("a", "b", made(0.1, math.nan, math.nan, 0.03)) == "a beats b by 10.0 points, p = 0.030"


@pytest.mark.parametrize("seeds", [1, 2, 5])
def test_real_comparisons_give_one_line(seeds: int) -> None:
    a, b = np.random.default_rng(seeds).random((2, seeds, 153)) < [[[0.9]], [[0.88]]]
    found = paired_both(a, b)
    said = verdict("a", "b", found, None, sample_needed(found))
    assert "nan" not in said.lower()
    assert "\n" not in said
