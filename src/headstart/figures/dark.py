"""Recolour a figure for dark pages: the same drawing in the dark page's colours."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.collections import Collection
from matplotlib.colors import LinearSegmentedColormap, to_rgb, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Annotation, Text
from numpy.typing import NDArray

PAPER, INK = "#14171B", "#E4E8EC"
"""The values of --paper and --ink in page.css."""
CONTRAST = 4.5
"""The least contrast of coloured lines and text to the paper (WCAG 2.2, success criterion 1.4.3)."""
SHARES = LinearSegmentedColormap.from_list(
    "shares", [(0, "#FFFFFF"), (0.1, "#D3E7F5"), (0.35, "#86BDE0"), (0.7, "#0072B2"), (1, "#00304D")]
)
"""Colours of fractions from 0 to 1, steep at first; ``DARK_SHARES`` replaces it on dark paper."""
DARK_SHARES = LinearSegmentedColormap.from_list(
    "dark shares", [(0, PAPER), (0.1, "#17324A"), (0.35, "#1F5F93"), (0.7, "#58ABE6"), (1, "#CBE7FB")]
)
COLOURED: tuple[tuple[type[Artist], tuple[str, ...]], ...] = (
    (Text, ("color",)),
    (Line2D, ("color", "markerfacecolor", "markeredgecolor")),
    (Patch, ("facecolor", "edgecolor")),
    (Collection, ("facecolor", "edgecolor")),
)


@contextmanager
def darkened(figure: Figure) -> Iterator[None]:
    """Recolour a drawn figure for dark paper inside the block; photographs keep their colours."""
    restore: list[Callable[[], Any]] = []
    try:
        for artist in _artists(figure):
            restore += _darken(artist)
        yield
    finally:
        for undo in reversed(restore):
            undo()


def dark_colours(colours: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return RGBA colours (N, 4), 0 to 1, for dark paper: greys inverted, others lightened until legible."""
    paper, ink = np.array(to_rgb(PAPER)), np.array(to_rgb(INK))
    dark = colours.copy()
    for row in dark:
        if np.ptp(row[:3]) < 0.06:
            row[:3] = ink + (paper - ink) * row[:3].mean()
            continue
        while (_luminance(row[:3]) + 0.05) / (_luminance(paper) + 0.05) < CONTRAST:
            row[:3] += (1 - row[:3]) * 0.08
    return dark


def _luminance(rgb: NDArray[np.float64]) -> float:
    """Return the relative luminance (WCAG 2.2)."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def _artists(figure: Figure) -> Iterator[Artist]:
    """Yield everything that is drawn, including boxes and arrows of texts, which ``findobj`` misses."""
    for artist in figure.findobj():
        yield artist
        if isinstance(artist, Text) and artist.get_bbox_patch() is not None:
            yield artist.get_bbox_patch()  # type: ignore[misc]
        if isinstance(artist, Annotation) and artist.arrow_patch is not None:
            yield artist.arrow_patch


def _darken(artist: Artist) -> list[Callable[[], Any]]:
    """Recolour one artist, and return functions that undo it."""
    if isinstance(artist, Collection | AxesImage) and artist.get_array() is not None:
        if artist.get_cmap() is not SHARES:
            return []
        artist.set_cmap(DARK_SHARES)
        return [lambda: artist.set_cmap(SHARES)]
    restore: list[Callable[[], Any]] = []
    names = [name for kind, properties in COLOURED if isinstance(artist, kind) for name in properties]
    colours = {name: getattr(artist, f"get_{name}")() for name in names}  # setting one may change another
    for name, before in colours.items():
        change = getattr(artist, f"set_{name}")
        rgba = to_rgba_array(before)
        if rgba[:, 3].any():  # setting an invisible colour would show it at the artist's alpha
            dark = dark_colours(rgba)
            change(dark if isinstance(artist, Collection) else tuple(dark[0]))
            restore.append(lambda change=change, before=before: change(before))  # type: ignore[misc]
    return restore
