"""Test that names of any length fit into the figures of headstart explain."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from headstart.analysis.explain.drawing import files_of, fitted, style, title_lines
from headstart.analysis.explain.embedding import draw_embedding, embed
from headstart.analysis.explain.grad_cam import ClassMaps, StageMap, draw_class_maps
from headstart.analysis.explain.mistakes import choose, draw_mistakes
from headstart.figures.canvas import text_width
from headstart.kinds.class_predictions import ClassPredictions

LONG = [f"a very long name of a class that data sets have {number}" for number in range(3)]
LONG += ["n01440764_tench_Tinca_tinca_freshwater_fish_of_europe", "W" * 80, "costs_5_$_and_more_$_" * 4]
TITLES = {
    "words": "gradual_unfreeze of test_efficientnet on textures with words, " + "flip_crop and augmix and mixup, " * 5,
    "path": "head_only of resnet18 on " + "/a/path/that/goes/deep" * 12 + ", seed 0",
    "short": "knn of resnet18 on digits, seed 0",
}


def figure_of(kind: str, title: str) -> Figure:
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(len(LONG)), 60)
    targets = rng.integers(0, len(LONG), 60)
    predictions = ClassPredictions(
        [f"test/{number}" for number in range(60)], targets, shares.argmax(axis=1), shares, LONG
    )
    if kind == "embedding":
        points = embed(rng.normal(size=(60, 5)).astype(np.float32), np.arange(60), "pca")
        return draw_embedding(predictions, points, title)
    chosen = choose(predictions, 7)
    images = [rng.integers(0, 255, (8, 8, 3)).astype(np.uint8) for _ in chosen.rows]
    if kind == "mistakes":
        return draw_mistakes(predictions, chosen, images, title)
    maps = rng.random((len(chosen.rows), 4, 4)).astype(np.float32)
    return draw_class_maps(
        predictions, chosen, images, ClassMaps(StageMap("stage4", 3, 4, lambda x: x), maps, maps), title
    )


@pytest.mark.parametrize("title", TITLES)
@pytest.mark.parametrize("kind", ["mistakes", "grad_cam", "embedding"])
def test_no_word_is_cut_off_or_covers_another(kind: str, title: str) -> None:
    with style():
        figure = figure_of(kind, TITLES[title])
        FigureCanvasAgg(figure).draw()
    ticks = {label for axes in figure.axes for label in (*axes.get_xticklabels(), *axes.get_yticklabels())}
    boxes = [
        text.get_window_extent().padded(-1).extents
        for text in figure.findobj(Text)
        if text not in ticks and text.get_text() and text.get_visible() and text.get_window_extent().width > 2
    ]
    assert len(boxes) > 8
    left, bottom, right, top = np.array(boxes).T
    assert left.min() >= -1
    assert bottom.min() >= -1
    assert right.max() <= figure.bbox.x1 + 1
    assert top.max() <= figure.bbox.y1 + 1
    for number, a in enumerate(boxes):
        for b in boxes[:number]:
            assert a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] or b[1] >= a[3], (kind, a, b)


@settings(max_examples=60, deadline=None)
@given(
    st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_categories=["Cc"]), max_size=200),
    st.floats(0.4, 4),
)
def test_a_name_that_fits_stays_and_others_lose_their_middle(text: str, width: float) -> None:
    line = fitted(text, width, 7, "true ", " 3 %")
    assert line.startswith("true ")
    assert line.endswith(" 3 %")
    if text_width([f"true {text} 3 %"], 7) <= width:
        assert line == f"true {text} 3 %"
    elif len(text) > 4 and width > 1.5:
        assert text_width([line], 7) <= width
        head, _, tail = line.removeprefix("true ").removesuffix(" 3 %").rpartition("…")
        assert text.startswith(head)
        assert text.endswith(tail)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("abcdefghij_/", min_size=1, max_size=120), max_size=12))
def test_titles_are_broken_at_spaces(words: list[str]) -> None:
    lines = title_lines([" ".join(words)], 3)
    assert text_width(lines, 9) <= 3
    assert [word for line in lines for word in line.split() if "…" not in word] == [
        word for word in words if text_width([word], 9) <= 3
    ]


def test_the_dark_form_is_written_too() -> None:
    with style():
        files = files_of(figure_of("mistakes", TITLES["short"]), "mistakes")
    assert list(files) == ["mistakes.png", "mistakes.pdf", "mistakes-dark.png"]
    assert files["mistakes.png"] != files["mistakes-dark.png"]
