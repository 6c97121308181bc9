"""Test the dark form of a figure: it is legible on dark paper, and the light form is restored."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image
from test_canvas import FIGURES

from headstart.figures.confusion import draw_confusion
from headstart.figures.dark import CONTRAST, INK, PAPER, dark_colours, darkened
from headstart.figures.style import COLOURS


def drawn(figure: Figure) -> np.ndarray:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=60)
    return np.asarray(Image.open(content).convert("RGB"))


def contrast(one: np.ndarray, other: np.ndarray) -> float:
    """Return the contrast by WCAG 2.2, from relative luminance."""
    linear = [np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) for c in (one, other)]
    low, high = sorted(float(c @ [0.2126, 0.7152, 0.0722]) + 0.05 for c in linear)
    return high / low


@pytest.mark.parametrize("name", FIGURES)
def test_a_dark_figure_is_dark_and_the_light_one_comes_back(name: str) -> None:
    figure = FIGURES[name]()
    before = drawn(figure)
    with darkened(figure):
        dark = drawn(figure)
    assert (drawn(figure) == before).all()
    np.testing.assert_array_equal(dark[0, 0], np.round(255 * np.array(to_rgb(PAPER))))
    assert (before == 255).all(axis=2).mean() > 0.3
    assert not (dark == 255).all(axis=2).any(), "no white is left"
    assert dark.mean() < 80 < 175 < before.mean()


def test_an_error_inside_restores_the_light_style() -> None:
    figure = FIGURES["cost"]()
    before = drawn(figure)
    with pytest.raises(RuntimeError), darkened(figure):
        raise RuntimeError
    assert (drawn(figure) == before).all()


def test_photographs_keep_their_colours() -> None:
    figure = Figure()
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3)).astype(np.uint8)
    figure.add_axes((0, 0, 1, 1)).imshow(image)
    before = drawn(figure)
    with darkened(figure):
        inside = drawn(figure)
    assert (inside[20:-20, 20:-20] == before[20:-20, 20:-20]).mean() > 0.99


@pytest.mark.parametrize("colour", [*COLOURS, "#000000", "#333333", "#B34700", "#00664B"])
def test_lines_and_words_are_legible(colour: str) -> None:
    (dark,) = dark_colours(np.array([[*to_rgb(colour), 1.0]]))
    assert contrast(dark[:3], np.array(to_rgb(PAPER))) >= CONTRAST


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_colours_stay_colours(colour: list[float]) -> None:
    (dark,) = dark_colours(np.array([colour]))
    assert dark[3] == colour[3]
    assert (dark >= 0).all()
    assert (dark <= 1).all()


def test_white_is_paper_and_black_is_ink() -> None:
    dark = dark_colours(np.array([[1.0, 1, 1, 1], [0, 0, 0, 1]]))
    np.testing.assert_allclose(dark[:, :3], [to_rgb(PAPER), to_rgb(INK)])


def test_numbers_of_a_confusion_matrix_stand_out_of_their_cells() -> None:
    figure = draw_confusion([np.array([[51, 49], [0, 100]])], ["ants", "bees"])
    with darkened(figure):
        mesh = figure.axes[0].collections[0]
        cells = mesh.cmap(mesh.norm(np.asarray(mesh.get_array()).ravel()))[:, :3]
        for text, cell in zip(figure.axes[0].texts, cells[[0, 1, 3]], strict=True):
            assert contrast(np.array(to_rgb(text.get_color())), cell) > 3
