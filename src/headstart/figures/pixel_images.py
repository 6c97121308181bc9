"""Draw images beside what they have for each pixel, classes or numbers: image, truth, prediction, error."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
SIDE = 160  # pixels of each drawn image
GAP = 4
STEP = SIDE + GAP
HEADINGS = ("image", "truth", "prediction", "error")
NO_CLASS, RIGHT, WRONG = (255, 255, 255), (235, 235, 235), (190, 20, 40)
TEXT = 18  # pixels of a line of text
MOST = 0.98  # colours run from the 2nd to the 98th percentile of true numbers
ERROR_SHARE = 0.5  # of this range is the brightest error


def label_palette(count: int) -> list[Colour]:
    """Return ``count`` colours that differ, numbered as in the PASCAL VOC challenge (Everingham et al. 2010)."""
    colours = []
    for index in range(1, count + 1):
        channels = [sum((index >> (3 * bit + at) & 1) << (7 - bit) for bit in range(8)) for at in range(3)]
        colours.append((channels[0], channels[1], channels[2]))
    return colours


def label_figure(
    images: NDArray[np.uint8],
    targets: NDArray[np.int64],
    predicted: NDArray[Any],
    classes: Sequence[str],
) -> Image.Image:
    """Return a grid with a row for each image (N, S, S, 3): image, truth (N, S, S), prediction, and where they differ.

    White pixels have no class (-1). A legend names the classes.
    """
    colours = np.array([*label_palette(len(classes)), NO_CLASS], np.uint8)
    errors = np.where((targets == predicted)[..., None], RIGHT, WRONG).astype(np.uint8)
    errors[targets < 0] = NO_CLASS
    columns = max(1, 4 * STEP // 160)
    canvas, draw, top = _grid((images, colours[targets], colours[predicted], errors), -(-len(classes) // columns))
    for number, name in enumerate(classes):
        left, line = (number % columns) * (canvas.width // columns), top + number // columns * TEXT
        draw.rectangle((left, line + 2, left + 12, line + 14), fill=tuple(colours[number].tolist()))
        draw.text((left + 16, line), name[:20], fill="black", font=_font())
    return canvas


def number_figure(
    images: NDArray[np.uint8], targets: NDArray[np.float32], predicted: NDArray[np.float32]
) -> Image.Image:
    """Return a grid with a row for each image (N, S, S, 3): image, truth (N, S, S), prediction, and absolute error.

    White pixels have no number (NaN). Colours run from dark to bright over most of the true numbers.
    """
    import matplotlib as mpl

    known = targets[~np.isnan(targets)]
    low, high = np.quantile(known, (1 - MOST, MOST)).tolist() if known.size else (0.0, 1.0)
    spread = max(high - low, 1e-12)
    colours = mpl.colormaps["viridis"].with_extremes(bad="white")
    heat = mpl.colormaps["magma"].with_extremes(bad="white")
    errors = np.abs(predicted - targets)
    shown = [colours((of - low) / spread, bytes=True)[..., :3] for of in (targets, predicted)]
    shown.append(heat(errors / (spread * ERROR_SHARE), bytes=True)[..., :3])
    canvas, draw, top = _grid((images, *shown), 1)
    text = f"dark to bright: {low:.3g} to {high:.3g}; error 0 to {spread * ERROR_SHARE:.3g}"
    draw.text((STEP, top), text, fill="black", font=_font())
    return canvas


def _grid(columns: Sequence[NDArray[np.uint8]], lines: int) -> tuple[Image.Image, ImageDraw.ImageDraw, int]:
    """Return a drawing of columns of images (N, S, S, 3) below their headings, with room for lines of text below.

    Also returns its pen, and where the first line of text begins.
    """
    bottom = TEXT + len(columns[0]) * STEP
    canvas = Image.new("RGB", (len(columns) * STEP - GAP, bottom + lines * TEXT), NO_CLASS)
    draw = ImageDraw.Draw(canvas)
    for column, (heading, images) in enumerate(zip(HEADINGS, columns, strict=True)):
        draw.text((column * STEP, 0), heading, fill="black", font=_font())
        resample = Image.Resampling.BILINEAR if column == 0 else Image.Resampling.NEAREST
        for row, image in enumerate(images):
            small = Image.fromarray(image).resize((SIDE, SIDE), resample)
            canvas.paste(small, (column * STEP, TEXT + row * STEP))
    return canvas, draw, bottom


def _font() -> Any:
    return ImageFont.load_default(TEXT - 6)
