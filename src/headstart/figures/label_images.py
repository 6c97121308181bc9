"""Draw images beside their label images: image, truth, prediction, error."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
SIDE = 160  # pixels of each drawn image
GAP = 4
HEADINGS = ("image", "truth", "prediction", "error")
NO_CLASS, RIGHT, WRONG = (255, 255, 255), (235, 235, 235), (190, 20, 40)
TEXT = 18  # pixels of a line of text


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
    font = ImageFont.load_default(TEXT - 6)
    step = SIDE + GAP
    columns = max(1, 4 * step // 160)
    legend = -(-len(classes) // columns)
    width, height = 4 * step - GAP, TEXT + len(images) * step + legend * TEXT
    canvas = Image.new("RGB", (width, height), NO_CLASS)
    draw = ImageDraw.Draw(canvas)
    for column, heading in enumerate(HEADINGS):
        draw.text((column * step, 0), heading, fill="black", font=font)
    for row, (image, true, found) in enumerate(zip(images, targets, predicted, strict=True)):
        error = np.where((true == found)[..., None], RIGHT, WRONG).astype(np.uint8)
        error[true < 0] = NO_CLASS
        for column, shown in enumerate((image, colours[true], colours[found], error)):
            resample = Image.Resampling.BILINEAR if column == 0 else Image.Resampling.NEAREST
            small = Image.fromarray(shown).resize((SIDE, SIDE), resample)
            canvas.paste(small, (column * step, TEXT + row * step))
    for number, name in enumerate(classes):
        left, top = (number % columns) * (width // columns), TEXT + len(images) * step + number // columns * TEXT
        draw.rectangle((left, top + 2, left + 12, top + 14), fill=tuple(colours[number].tolist()))
        draw.text((left + 16, top), name[:20], fill="black", font=font)
    return canvas
