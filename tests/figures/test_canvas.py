"""Test files of figures: they repeat byte for byte, embed their text, and their lines differ in grey."""

import subprocess
import sys
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from headstart.figures.by_number import draw_by_number
from headstart.figures.canvas import log_ticks, percent_limits, save, text_width
from headstart.figures.confusion import draw_confusion
from headstart.figures.cost import Point, draw_cost
from headstart.figures.critical_difference import draw_critical_difference
from headstart.figures.fonts import NAME, families
from headstart.figures.forest import draw_forest
from headstart.figures.reliability import draw_reliability
from headstart.figures.style import STRATEGIES
from headstart.kinds.class_scores import reliability_bins

BINS = reliability_bins(np.array([0, 1, 1]), np.array([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7]]))
FIGURES: dict[str, Callable[[], Figure]] = {
    "by_number": lambda: draw_by_number({"lora": [(5, 0.5, 0.4, 0.6), (50, 0.7, 0.6, 0.8)]}, "labels a class"),
    "cost": lambda: draw_cost([Point("lora", 0.5, 10, 1e4), Point("knn", 0.6, 20, 0)]),
    "critical_difference": lambda: draw_critical_difference(["a", "b", "c"], [1.2, 1.9, 2.9], 1.0, [["a", "b"]]),
    "forest": lambda: draw_forest([("a − b", 0.1, 0.05, 0.15, True)], "a title"),
    "confusion": lambda: draw_confusion([np.array([[5, 1], [2, 6]])], ["ants", "bees"]),
    "reliability": lambda: draw_reliability([BINS], [BINS]),
}


@pytest.mark.parametrize("name", FIGURES)
def test_files_repeat_byte_for_byte(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = [path.read_bytes() for path in save(FIGURES[name](), tmp_path, "one")]
    monkeypatch.setattr(time, "time", lambda: 2e9)
    figure = FIGURES[name]()
    again = [path.read_bytes() for path in save(figure, tmp_path, "two")]
    assert first == again
    assert first == [path.read_bytes() for path in save(figure, tmp_path, "two")]  # the same figure, saved twice
    names = ["one-dark.png", "one.pdf", "one.png", "two-dark.png", "two.pdf", "two.png"]
    assert sorted(path.name for path in tmp_path.glob("*.p*")) == names


def test_files_repeat_in_another_process(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from headstart.figures.canvas import save;"
        "from headstart.figures.forest import draw_forest;"
        "save(draw_forest([('a − b', 0.1, 0.05, 0.15, True)], 'a title'), Path('.'), 'other')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONHASHSEED": "7"}, timeout=60)
    assert done.returncode == 0
    for path in save(FIGURES["forest"](), tmp_path, "own"):
        assert path.read_bytes() == (tmp_path / f"other{path.suffix}").read_bytes()


def test_a_pdf_embeds_one_truetype_font_and_has_no_date(tmp_path: Path) -> None:
    png, pdf = save(draw_forest([("finetune_all − scratch", 0.1, 0.05, 0.15, True)]), tmp_path, "forest")
    content = pdf.read_bytes()
    assert content.startswith(b"%PDF")
    assert b"/FontFile2" in content  # TrueType
    assert b"/Subtype /Type3" not in content
    assert b"CreationDate" not in content
    assert NAME.replace(" ", "").encode() in content
    assert b"DejaVu" not in content
    with Image.open(png) as image:
        assert image.info["dpi"][0] == pytest.approx(150, abs=1)
        assert image.width == int(6.8 * 150)


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off_at_the_edges(name: str) -> None:
    canvas = FigureCanvasAgg(FIGURES[name]())
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())
    assert (pixels < 128).any()
    for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert (edge == 255).all()


def test_lines_differ_in_grey() -> None:
    """Any two strategies differ in luminance, marker or dash."""
    lines = {name: [(1.0, 0.5, 0.4, 0.6), (9.0, 0.6, 0.5, 0.7)] for name in STRATEGIES}
    (axes,) = draw_by_number(lines, "x").axes
    looks = {}
    for container in axes.containers:
        drawn = container.lines[0]
        luminance = float(np.dot(to_rgb(drawn.get_color()), (0.2126, 0.7152, 0.0722)))
        looks[container.get_label()] = (drawn.get_marker(), str(drawn._dash_pattern), luminance)
    assert set(looks) == set(STRATEGIES)
    for (one, a), (other, b) in combinations(looks.items(), 2):
        assert a[:2] != b[:2] or abs(a[2] - b[2]) > 0.2, (one, other)


def test_text_is_measured_as_it_is_drawn() -> None:
    figure = Figure(figsize=(4, 1))
    text = figure.text(0.1, 0.5, "finetune_lower (5.10)", fontsize=8, fontfamily=families())
    FigureCanvasAgg(figure).draw()
    assert text_width([text.get_text(), "short"]) == pytest.approx(
        text.get_window_extent().width / figure.dpi, rel=0.05
    )
    assert text_width([]) == 0


@pytest.mark.parametrize(("low", "high", "ticks"), [(1, 1000, [1, 10, 100, 1000]), (0.4, 40, [1, 3, 10, 30])])
def test_log_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    np.testing.assert_allclose(log_ticks(low, high), ticks)


@given(st.floats(1e-3, 1e6), st.floats(1.9, 1e9))
def test_log_ticks_are_few_and_inside(low: float, ratio: float) -> None:
    found = log_ticks(low, ratio * low)
    assert 2 <= len(found) <= 6
    assert all(low * 0.99 <= tick <= ratio * low * 1.01 for tick in found)


def test_percent_limits_leave_a_margin() -> None:
    assert percent_limits([50, 60, float("nan")]) == pytest.approx((49, 61))
    assert percent_limits([0.5, 100]) == pytest.approx((0, 100))
