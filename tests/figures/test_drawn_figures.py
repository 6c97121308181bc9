"""Test the lines, labels and numbers of each figure, and what it refuses."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_runs import write_run
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from headstart.comparison.curves import Band, Curves, read_curves
from headstart.comparison.panels import make_panels
from headstart.comparison.table import group_runs
from headstart.errors import DataError
from headstart.figures.by_number import draw_by_number, number_ticks
from headstart.figures.confusion import draw_confusion, row_shares
from headstart.figures.cost import Point, draw_cost, pareto
from headstart.figures.critical_difference import draw_critical_difference, levels
from headstart.figures.forest import draw_forest
from headstart.figures.learning_curves import draw_learning_curves
from headstart.figures.overview import draw_overview
from headstart.figures.reliability import draw_reliability
from headstart.figures.style import REFERENCE, STRATEGIES
from headstart.kinds.class_scores import reliability_bins
from headstart.records.runs import read_runs


def line(axes: Axes, label: str) -> Line2D:
    """Return the only line with this label."""
    (found,) = [line for line in axes.get_lines() if line.get_label() == label]
    return found


def marked(axes: Axes, gid: str) -> list[Line2D]:
    return [line for line in axes.get_lines() if line.get_gid() == gid]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def names(legend: object) -> list[str]:
    return [text.get_text() for text in legend.get_texts()]


def curves(labels: Sequence[str]) -> Mapping[str, Curves]:
    """Return three epochs of all four columns."""
    epochs = np.array([1, 2, 3])
    band = Band(epochs, np.array([0.2, 0.5, 0.6]), np.array([0.0, 0.1, 0.1]))
    columns = ("train/accuracy", "validation/accuracy", "train/loss", "validation/loss")
    return {label: dict.fromkeys(columns, band) for label in labels}


# overview


def test_overview_has_curves_above_bars(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path, "finetune_all", seed, 0.9 + 0.02 * seed, references={"raw_pixels": {"test/accuracy": 0.3}})
        write_run(tmp_path, "scratch", seed, 0.5)
    (write_run(tmp_path, "linear_probe", 0, 0.8) / "metrics.csv").write_text(
        "epoch,l2,train/accuracy,validation/accuracy\n0,1,0.9,0.8\n"
    )
    panels = make_panels(group_runs(read_runs([tmp_path]).runs))
    figure = draw_overview(panels)
    upper, lower = figure.axes
    tuned = line(upper, "finetune_all")
    np.testing.assert_allclose(tuned.get_ydata(), [81, 86, 91])
    np.testing.assert_array_equal(tuned.get_xdata(), [1, 2, 3])
    assert tuned.get_color() == STRATEGIES["finetune_all"].colour
    dotted = [line for line in upper.get_lines() if line.get_linestyle() == ":"]
    assert len(dotted) == 2
    np.testing.assert_allclose(dotted[0].get_ydata(), [50, 60, 70])
    np.testing.assert_allclose(line(upper, "linear_probe (no epochs)").get_ydata(), 79)
    np.testing.assert_allclose([bar.get_width() for bar in lower.patches], [30, 50, 80, 91])
    assert lower.patches[0].get_facecolor()[0] == pytest.approx(int(REFERENCE[1:3], 16) / 255)
    assert [label.get_text() for label in lower.get_yticklabels()][::-1] == [
        "finetune_all", "linear_probe", "scratch", "raw pixels",
    ]  # fmt: skip
    assert "91.0 ± 1.4" in [text.get_text() for text in lower.texts]
    assert figure.get_size_inches()[0] > 5.1
    assert figure.get_size_inches()[1] == pytest.approx(3.3 + 2.0 + 1.45)


def test_many_panels_go_below_each_other(tmp_path: Path) -> None:
    for number in range(5):
        write_run(tmp_path, "scratch", 0, 0.5, lr=number + 1)
        write_run(tmp_path, "head_only", 0, 0.5, lr=number + 1)
    panels = make_panels(group_runs(read_runs([tmp_path]).runs))
    figure = draw_overview(panels)
    assert len(figure.axes) == 10
    assert len({round(axes.get_position().x0, 3) for axes in figure.axes}) == 3
    assert_apart([axes.get_position().extents for axes in figure.axes])


def drawn_boxes(figure: Figure) -> dict[str, list[Sequence[float]]]:
    """Return the boxes of axes and legends in dots."""
    FigureCanvasAgg(figure).draw()
    return {
        "axes": [axes.get_tightbbox().extents for axes in figure.axes],
        "legends": [legend.get_window_extent().extents for legend in figure.legends],
    }


@pytest.mark.parametrize("count", [2, 30, 90])
def test_the_legend_covers_no_curve_and_names_all(count: int, tmp_path: Path) -> None:
    for number in range(count):
        write_run(tmp_path, f"strategy with a name {number}", 0, 0.5, references=REFERENCES)
    figure = draw_overview(make_panels(group_runs(read_runs([tmp_path]).runs)))
    boxes = drawn_boxes(figure)
    assert_apart([*boxes["axes"], *boxes["legends"]])
    whole = figure.bbox
    for left, bottom, right, top in boxes["legends"]:
        assert whole.x0 <= left
        assert right <= whole.x1
        assert whole.y0 <= bottom
        assert top <= whole.y1
    (legend,) = figure.legends
    handles = legend.legend_handles
    assert len({(h.get_color(), h.get_marker(), str(h.get_linestyle())) for h in handles}) == len(handles) == count + 2
    assert ("More than 40" in legend.get_title().get_text()) == (count > 40)


REFERENCES = {name: {"test/accuracy": 0.3, "validation/accuracy": 0.3} for name in ("raw_pixels", "majority_class")}


def test_one_epoch_is_one_whole_number(tmp_path: Path) -> None:
    (write_run(tmp_path, "scratch", 0, 1.0) / "metrics.csv").write_text(
        "epoch,train/accuracy,validation/accuracy,train/loss,validation/loss\n0,0.9,1.0,1,1\n"
    )
    (panel,) = make_panels(group_runs(read_runs([tmp_path]).runs))
    for figure in (draw_overview([panel]), draw_learning_curves(read_curves(panel))):
        FigureCanvasAgg(figure).draw()
        upper = next(axes for axes in figure.axes if axes.get_xlabel() == "epoch")
        shown = [label for label in upper.get_xticklabels() if label.get_window_extent().width]
        low, high = upper.get_xlim()
        assert [label.get_text() for label in shown if low <= label.get_position()[0] <= high] == ["1"]


def test_accuracy_axes_end_at_100(tmp_path: Path) -> None:
    for seed, accuracy in enumerate((1.0, 1.0, 0.7)):
        write_run(tmp_path, "scratch", seed, accuracy)
        write_run(tmp_path, "lora", seed, 1.0)
    (panel,) = make_panels(group_runs(read_runs([tmp_path]).runs))
    upper, lower = draw_overview([panel]).axes
    assert upper.get_ylim() == (0, 100)
    assert lower.get_xlim() == (0, 100)
    places = [(5.0, 1.0, 0.9, 1.1), (50.0, 1.0, 0.9, 1.1)]
    curves = draw_learning_curves(read_curves(panel))
    for axes in (*curves.axes[:2], draw_by_number({"scratch": places}, "x").axes[0]):
        assert axes.get_ylim()[1] == 100
    assert draw_cost([Point("a", 1.0, 1, 1), Point("b", 0.5, 2, 2)]).axes[0].get_ylim()[1] == 100


# learning curves


def test_learning_curves_share_a_scale_a_row() -> None:
    figure = draw_learning_curves({**curves(["scratch", "lora"]), "knn": {}}, "5 labels")
    train, validation, train_loss, _ = figure.axes
    np.testing.assert_allclose(line(train, "scratch").get_ydata(), [20, 50, 60])
    np.testing.assert_allclose(line(train_loss, "lora").get_ydata(), [0.2, 0.5, 0.6])
    assert train.get_ylim() == validation.get_ylim()
    assert len(validation.collections) == 2  # a band each
    np.testing.assert_allclose(validation.collections[0].get_paths()[0].get_extents().intervaly, [20, 70])
    assert names(figure.legends[0]) == ["scratch", "lora"]
    assert train.get_xlim()[0] > 0  # there is no epoch 0
    with pytest.raises(DataError, match="no learning curves"):
        draw_learning_curves({"knn": {}})


def test_a_legend_longer_than_the_figure_makes_it_higher() -> None:
    many = [f"series {number}" for number in range(40)]
    place = [(1.0, 0.5, 0.4, 0.6)]
    for figure in (draw_learning_curves(curves(many)), draw_by_number(dict.fromkeys(many, place), "x")):
        FigureCanvasAgg(figure).draw()
        assert figure.legends[0].get_window_extent().y0 >= 0


# by number


def test_by_number_is_logarithmic_where_numbers_span_a_factor_of_eight() -> None:
    lines = {
        "scratch": [(50.0, 0.5, 0.45, 0.55), (5.0, 0.2, 0.1, 0.3)],
        "lora": [(5.0, 0.6, math.nan, math.nan), (50.0, 0.7, math.nan, math.nan)],
    }
    figure = draw_by_number(lines, "labels a class")
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel() == "labels a class"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["5", "50"]
    scratch, lora = (next(c for c in axes.containers if c.get_label() == name) for name in ("scratch", "lora"))
    np.testing.assert_allclose(scratch.lines[0].get_xdata(), [5, 50])
    np.testing.assert_allclose(scratch.lines[0].get_ydata(), [20, 50])
    np.testing.assert_allclose(np.ravel([path[:, 1] for path in scratch.lines[2][0].get_segments()]), [10, 30, 45, 55])
    assert not any(len(path) for path in lora.lines[2][0].get_segments())  # no interval, no bar
    assert names(figure.legends[0]) == ["lora", "scratch"]  # as they end, from the top
    low, high = axes.get_xlim()
    assert 4 < low < 5
    assert 50 < high < 62
    close = {"scratch": [(5.0, 0.5, 0.4, 0.6), (39.0, 0.5, 0.4, 0.6)]}
    assert draw_by_number(close, "x").axes[0].get_xscale() == "linear"
    zero = {"scratch": [(0.0, 0.5, 0.4, 0.6), (39.0, 0.5, 0.4, 0.6)]}
    assert draw_by_number(zero, "x").axes[0].get_xscale() == "linear"
    with pytest.raises(DataError, match="against labels"):
        draw_by_number({"scratch": []}, "labels")


@pytest.mark.parametrize("log", [True, False])
def test_ticks_are_the_numbers_where_they_have_room(log: bool) -> None:
    assert number_ticks([1, 2, 4], 4, log) == [1, 2, 4]
    crowded = list(np.arange(1, 100, dtype=float))
    assert 3 <= len(number_ticks(crowded, 4, log)) <= 6


# cost


def test_pareto_by_hand() -> None:
    points = [(1.0, 0.5), (2.0, 0.4), (2.0, 0.7), (3.0, 0.7), (9.0, 0.9), (math.nan, 1.0), (1.0, 0.5)]
    assert pareto(points) == [0, 6, 2, 4]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5).map(float), st.integers(0, 5).map(float)), max_size=12))
def test_pareto_keeps_exactly_what_is_not_beaten(points: list[tuple[float, float]]) -> None:
    beaten = {
        index
        for index, (cost, accuracy) in enumerate(points)
        if any(other != (cost, accuracy) and other[0] <= cost and other[1] >= accuracy for other in points)
    }
    front = pareto(points)
    assert set(front) == set(range(len(points))) - beaten
    assert [points[index][0] for index in front] == sorted(points[index][0] for index in front)


def test_cost_draws_the_front_and_fills_what_is_on_it() -> None:
    points = [
        Point("scratch", 0.4, 100, 4e6), Point("finetune_all", 0.8, 100, 4e6), Point("head_only", 0.6, 10, 2e4),
        Point("knn", 0.5, 0.5, 0),
    ]  # fmt: skip
    seconds, parameters = draw_cost(points).axes
    assert seconds.get_xscale() == "log"
    assert parameters.get_xscale() == "symlog"
    assert seconds.get_ylim() == parameters.get_ylim()
    assert parameters.get_xlim()[0] < 0
    assert parameters.get_xticklabels()[0].get_text() == "0"
    front = line(seconds, "Pareto front")
    np.testing.assert_allclose(np.array(front.get_data()).T[:3], [(0.5, 50), (10, 60), (100, 80)])
    assert line(seconds, "scratch").get_markerfacecolor() == "white"
    assert line(seconds, "finetune_all").get_markerfacecolor() == STRATEGIES["finetune_all"].colour
    assert sorted(text.get_text() for text in seconds.texts) == sorted(point.label for point in points)
    with pytest.raises(DataError, match="training"):
        draw_cost([Point("scratch", 0.4, math.nan, 1)])
    with pytest.raises(DataError, match="no accuracy"):
        draw_cost([])


def test_labels_of_points_keep_apart() -> None:
    rng = np.random.default_rng(0)
    points = [Point(name, rng.uniform(0.6, 0.9), 10 ** rng.uniform(0, 3), 1e4) for name in list(STRATEGIES)[:10]]
    figure = draw_cost(points)
    FigureCanvasAgg(figure).draw()
    axes = figure.axes[0]
    assert_apart([text.get_window_extent().extents for text in axes.texts])
    for text in axes.texts:
        box = text.get_window_extent()
        assert axes.bbox.x0 - 2 <= box.x0
        assert box.x1 <= axes.bbox.x1 + 2


def assert_apart(boxes: Sequence[Sequence[float]]) -> None:
    """Assert that no two boxes (left, bottom, right, top) overlap."""
    for number, a in enumerate(boxes):
        for b in boxes[:number]:
            assert a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] or b[1] >= a[3], (a, b)


# critical difference


def test_critical_difference_puts_the_best_right() -> None:
    ranks = {"a": 1.5, "b": 2.0, "c": 3.5, "d": 3.0}
    figure = draw_critical_difference(list(ranks), list(ranks.values()), 1.2, [["a", "b"], ["b", "c", "d"], ["a"]])
    (axes,) = figure.axes
    assert axes.get_xlim() == (4, 1)
    for name, rank in ranks.items():
        (elbow,) = marked(axes, name)
        assert elbow.get_xdata()[0] == rank
    shown = {text.get_text(): text.get_position() for text in axes.texts}
    assert shown["a (1.50)"][0] < 1 < 4 < shown["c (3.50)"][0]  # the axis runs to the left
    assert shown["a (1.50)"][1] > shown["b (2.00)"][1]
    (bar,) = marked(axes, "critical difference")
    assert abs(np.subtract(*bar.get_xdata())) == pytest.approx(1.2)
    assert "CD = 1.20" in shown
    cliques = marked(axes, "clique")
    assert len(cliques) == 2  # one name alone joins nothing
    np.testing.assert_allclose(cliques[1].get_xdata(), [2.0, 3.5], atol=0.05)
    assert cliques[0].get_ydata()[0] != cliques[1].get_ydata()[0]  # they overlap
    without = draw_critical_difference(list(ranks), list(ranks.values()), None, [])
    assert not marked(without.axes[0], "critical difference")
    with pytest.raises(DataError, match="two or more"):
        draw_critical_difference(["a"], [1], 1, [])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9).map(float), st.integers(0, 9).map(float)).map(sorted).map(tuple)))
def test_bars_on_one_level_do_not_touch(spans: list[tuple[float, float]]) -> None:
    placed = levels(spans)
    assert sorted(span[:2] for span in placed) == sorted(spans)
    for number, (low, high, level) in enumerate(placed):
        for other_low, other_high, other in placed[:number]:
            assert level != other or low > other_high or high < other_low


# forest


def test_forest_is_in_points_with_a_zero_line() -> None:
    rows = [("a - b", 0.032, 0.011, 0.053, True), ("a - c", -0.004, -0.01, 0.002, False)]
    figure = draw_forest([*rows, ("b - c", 0.1, math.nan, math.nan, False)])
    (axes,) = figure.axes
    np.testing.assert_allclose(marked(axes, "zero")[0].get_xdata(), 0)
    first, second, third = marked(axes, "interval")
    np.testing.assert_allclose(first.get_xdata(), [1.1, 5.3])
    assert np.isnan(third.get_xdata()).all()
    assert second.get_ydata()[0] > first.get_ydata()[0]
    assert axes.yaxis_inverted()
    np.testing.assert_allclose(line(axes, "a - b").get_xdata(), 3.2)
    assert line(axes, "a - b").get_markerfacecolor() != "white"
    assert line(axes, "a - c").get_markerfacecolor() == "white"
    assert line(axes, "a - b").get_marker() != line(axes, "a - c").get_marker()
    assert [text.get_text().strip() for text in axes.texts] == ["+3.2 [+1.1, +5.3]", "−0.4 [−1.0, +0.2]", "+10.0"]
    with pytest.raises(DataError, match="no difference"):
        draw_forest([])


# confusion


def test_confusion_averages_shares_of_rows_over_runs() -> None:
    runs = [np.array([[8, 2, 0], [0, 4, 0], [0, 0, 0]]), np.array([[3, 2, 0], [1, 1, 0], [0, 0, 0]])]
    shares = row_shares(runs)
    np.testing.assert_allclose(shares[:2], [[0.7, 0.3, 0], [0.25, 0.75, 0]])
    assert np.isnan(shares[2]).all()
    axes = draw_confusion(runs, ["ants", "bees", "cats"]).axes[0]
    assert [text.get_text() for text in axes.texts] == ["70", "30", "25", "75"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["ants", "bees", "cats"]
    assert axes.yaxis_inverted()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    with pytest.raises(DataError, match="no predictions"):
        draw_confusion([], ["ants"])


@pytest.mark.parametrize("number", [2, 15, 40, 200])
def test_class_names_do_not_overlap_and_stay_inside(number: int) -> None:
    classes = [f"class {index} with a name" for index in range(number)]
    figure = draw_confusion([np.eye(number, dtype=int)], classes)
    FigureCanvasAgg(figure).draw()
    axes = figure.axes[0]
    labels = [*axes.get_xticklabels(), *axes.get_yticklabels()]
    if number <= 40:
        assert len(labels) == 2 * number
    assert_apart([label.get_window_extent().padded(-0.7).extents for label in labels])
    whole = figure.bbox
    for text in (*labels, axes.xaxis.label, axes.yaxis.label, figure.axes[1].yaxis.label):
        box = text.get_window_extent()
        assert whole.x0 <= box.x0 < box.x1 <= whole.x1
        assert whole.y0 <= box.y0 < box.y1 <= whole.y1
    assert min(label.get_fontsize() for label in labels) >= 6


# reliability


def test_reliability_shows_both_with_their_errors() -> None:
    targets = np.array([0] * 30 + [1] * 11)
    before = reliability_bins(targets, np.array([[0.9, 0.1]] * 40 + [[0.3, 0.7]]))
    after = reliability_bins(targets, np.array([[0.7, 0.3]] * 40 + [[0.4, 0.6]]))
    upper, lower = draw_reliability([before], [after]).axes
    unscaled, scaled = upper.get_lines()[1], upper.get_lines()[3]
    np.testing.assert_allclose(unscaled.get_data(), [[0.9], [0.75]])
    np.testing.assert_allclose(scaled.get_data(), [[0.7], [0.75]])
    few = marked(upper, "few")
    np.testing.assert_allclose(few[0].get_data(), [[0.7], [1.0]])  # one image: not joined, and hollow
    assert few[0].get_markerfacecolor() == "white"
    assert unscaled.get_linestyle() != scaled.get_linestyle()
    legend = names(upper.get_legend())
    assert legend == ["perfect", f"unscaled (ECE {100 * before.ece:.1f} %)", f"scaled (ECE {100 * after.ece:.1f} %)"]
    assert sum(lower.patches[0].get_data().values) == pytest.approx(100)
    alone = draw_reliability([before, before]).axes[0]
    assert names(alone.get_legend()) == legend[:2]
    with pytest.raises(DataError, match="no predictions"):
        draw_reliability([])


def test_names_of_users_are_shown_as_they_are() -> None:
    """Dollar signs start no mathematics, and another font has the characters that the small one lacks."""
    figure = draw_forest([("a$_b$ − Ωж", 0.1, 0.0, 0.2, False)])
    FigureCanvasAgg(figure).draw()
    assert "a$_b$ − Ωж" in texts(figure)
    assert not any(text.get_parse_math() for text in figure.axes[0].get_yticklabels())
