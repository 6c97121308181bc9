"""Test styles: those of shipped strategies are fixed, and lines differ without colour."""

from itertools import combinations

import pytest
from conftest import answer_of
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.lines import Line2D
from plotly.graph_objects import Scatter

from headstart.figures.style import (
    ALIKE_FROM,
    COLOURS,
    DASHES,
    REFERENCE,
    STRATEGIES,
    SYMBOLS,
    Style,
    reference_styles,
    styles_of,
)
from headstart.settings.configs import choices

SHIPPED = choices("strategy")


def test_styles_are_of_strategies_that_ship_and_others_get_one() -> None:
    assert set(STRATEGIES) <= set(SHIPPED)
    assert styles_of(["a new strategy"])


def test_no_two_strategies_look_alike() -> None:
    """Lines differ in marker or dash, points in marker or colour."""
    for (one, a), (other, b) in combinations(STRATEGIES.items(), 2):
        assert (a.marker, a.dash) != (b.marker, b.dash), (one, other)
        assert (a.marker, a.colour) != (b.marker, b.colour), (one, other)


def test_the_six_keep_their_colours() -> None:
    names = ["finetune_all", "scratch", "linear_probe", "finetune_lower", "head_only", "finetune_upper"]
    colours = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
    assert [STRATEGIES[name].colour for name in names] == colours


SIX = ["finetune_all", "scratch", "linear_probe", "finetune_lower", "head_only", "finetune_upper"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(SHIPPED) | st.text(max_size=4), max_size=40))
def test_styles_differ_as_far_as_they_can_and_do_not_depend_on_order(labels: list[str]) -> None:
    styles = styles_of(labels)
    assert list(styles) == list(dict.fromkeys(labels))
    count = len(styles)
    assert len({style.colour for style in styles.values()}) == min(count, len(COLOURS))
    assert len({style.marker for style in styles.values()}) == min(count, len(SYMBOLS))
    assert len({(style.marker, style.dash) for style in styles.values()}) == count
    assert len({(style.marker, style.colour) for style in styles.values()}) == count
    for label in set(labels) & set(SIX):
        assert styles[label] == STRATEGIES[label]
    assert styles_of(labels[::-1]) == styles


def test_a_strategy_alone_has_its_own_style_and_gives_way_to_an_earlier_one() -> None:
    assert all(styles_of([name])[name] == style for name, style in STRATEGIES.items())
    styles = styles_of(["knn", "scratch"])
    assert styles["scratch"] == STRATEGIES["scratch"]
    assert styles["knn"] == Style(COLOURS[0], STRATEGIES["knn"].marker, STRATEGIES["knn"].dash)


def test_a_hundred_groups_have_different_styles() -> None:
    styles = styles_of([f"run {number}" for number in range(100)])
    assert ALIKE_FROM == 40
    assert len(set(styles.values())) == 100


def test_references_are_grey_and_differ() -> None:
    styles = reference_styles(["raw pixels", "majority class", "raw pixels"])
    assert list(styles) == ["raw pixels", "majority class"]
    assert len({(style.marker, style.dash) for style in styles.values()}) == 2
    assert {style.colour for style in styles.values()} == {REFERENCE}


@pytest.mark.parametrize("marker", SYMBOLS)
@pytest.mark.parametrize("dash", DASHES)
def test_both_libraries_take_markers_and_dashes(marker: str, dash: str) -> None:
    style = Style(COLOURS[0], marker, dash)
    line = Line2D([], [], linestyle=style.linestyle, marker=style.marker, color=style.colour)
    assert line.is_dashed() == (dash != "solid")
    trace = Scatter(line={"dash": style.dash, "color": style.colour}, marker={"symbol": style.symbol})
    assert trace.line.dash == dash


def test_knows_no_drawing_library() -> None:
    code = "import sys, headstart.figures.style; print({'matplotlib', 'plotly', 'torch'} & set(sys.modules))"
    assert answer_of(code).strip() == "set()"
