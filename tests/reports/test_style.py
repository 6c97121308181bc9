"""Styles are fixed for what ships, and told apart without colour."""

from itertools import combinations

import pytest
from conftest import CHECKOUT, answer_of
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.lines import Line2D
from plotly.graph_objects import Scatter

from headstart.reports.style import COLOURS, DASHES, STRATEGIES, SYMBOLS, Style, styles_of

SHIPPED = sorted(path.stem for path in (CHECKOUT / "conf/strategy").glob("*.yaml"))


def test_every_strategy_that_ships_has_a_style_and_no_other() -> None:
    assert sorted(STRATEGIES) == SHIPPED


def test_no_two_strategies_look_alike() -> None:
    """Neither as lines in grey (marker and dash) nor as points in colour (marker and colour)."""
    for (one, a), (other, b) in combinations(STRATEGIES.items(), 2):
        assert (a.marker, a.dash) != (b.marker, b.dash), (one, other)
        assert (a.marker, a.colour) != (b.marker, b.colour), (one, other)


def test_the_six_keep_their_colours() -> None:
    names = ["finetune_all", "scratch", "linear_probe", "finetune_lower", "head_only", "finetune_upper"]
    colours = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
    assert [STRATEGIES[name].colour for name in names] == colours


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(SHIPPED) | st.text(max_size=4), max_size=20))
def test_styles_are_fixed_unique_and_do_not_depend_on_order(labels: list[str]) -> None:
    styles = styles_of(labels)
    assert list(styles) == list(dict.fromkeys(labels))
    assert len({(style.marker, style.dash) for style in styles.values()}) == len(styles)
    for label in set(labels) & set(SHIPPED):
        assert styles[label] == STRATEGIES[label]
    assert styles_of(labels[::-1]) == styles


def test_colours_that_are_free_come_first() -> None:
    labels = ["finetune_all", "scratch", "a", "b", "c", "d", "e"]
    assert len({style.colour for style in styles_of(labels).values()}) == len(labels) == len(COLOURS)


def test_forty_others_are_told_apart_in_grey_and_more_are_served() -> None:
    styles = styles_of([f"run {number}" for number in range(100)])
    assert len({(styles[label].marker, styles[label].dash) for label in sorted(styles)[:40]}) == 40
    assert len(styles) == 100


@pytest.mark.parametrize("marker", SYMBOLS)
@pytest.mark.parametrize("dash", DASHES)
def test_both_libraries_take_markers_and_dashes(marker: str, dash: str) -> None:
    style = Style(COLOURS[0], marker, dash)
    line = Line2D([], [], linestyle=style.linestyle, marker=style.marker, color=style.colour)
    assert line.is_dashed() == (dash != "solid")
    trace = Scatter(line={"dash": style.dash, "color": style.colour}, marker={"symbol": style.symbol})
    assert trace.line.dash == dash


def test_knows_no_drawing_library() -> None:
    code = "import sys, headstart.reports.style; print({'matplotlib', 'plotly', 'torch'} & set(sys.modules))"
    assert answer_of(code).strip() == "set()"
