"""Read files with a value for each pixel, and resize the values as their image is resized."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from headstart.inputs.decoding import LONGEST, MOST_PIXELS, Decoder, raising_unreadable
from headstart.inputs.deep import ORIENTATION, UnreadableError

QUARTER_TURNS = (5, 6, 7, 8)  # EXIF orientations that swap width and height


@dataclass(frozen=True)
class PixelFile:
    """Facts about a file with a value for each pixel."""

    digest: str  # sha256 of the file, in hex
    width: int  # pixels, of the upright image
    height: int


class PixelReader(Protocol):
    """A reader of files with a value for each pixel."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the type of targets."""

    @property
    def outside(self) -> Any:
        """Return the value of padding."""

    def read(self, content: bytes, turn: int = 1) -> NDArray[Any]:
        """Return the values in the bytes of a file, (H, W), upright. Raises UnreadableError.

        ``turn`` is the EXIF orientation to use if the file has none.
        """

    def look(self, path: Path, turn: int = 1) -> PixelFile:
        """Return the facts of a file. Raises UnreadableError, also for values that cannot be targets."""

    def stored_size(self, path: Path) -> tuple[int, int]:
        """Return width and height, upright, from the beginning of a file. Raises UnreadableError."""


def open_upright(content: bytes, turn: int = 1) -> Image.Image:
    """Return an image of labels or numbers, upright. Raises UnreadableError for formats that change values."""
    image = Image.open(io.BytesIO(content))
    if image.format == "JPEG":
        raise UnreadableError("JPEG changes values: save it as PNG")
    if not 0 < image.width * image.height <= MOST_PIXELS:
        raise UnreadableError(f"{image.width:,} x {image.height:,} pixels; at most {MOST_PIXELS:,} are decoded")
    image.load()
    exif = image.getexif()
    if turn != 1 and ORIENTATION not in exif:
        exif[ORIENTATION] = turn
    return ImageOps.exif_transpose(image)


def upright(path: Path) -> tuple[tuple[int, int], tuple[int, int], int]:
    """Return the size of an image upright, its size as stored, both (width, height), and its EXIF orientation.

    Reads only the beginning of the file. Raises UnreadableError.
    """
    with raising_unreadable(), Image.open(path) as image:
        turn = int(image.getexif().get(ORIENTATION, 1))
        width, height = stored = image.size
    return ((height, width) if turn in QUARTER_TURNS else stored), stored, turn


def fitted(values: NDArray[Any], decoder: Decoder, outside: Any, shape: tuple[int, int] | None = None) -> NDArray[Any]:
    """Return values (H, W) resized as ``decoder`` resizes their image, by the nearest pixel; ``outside`` is padding.

    ``shape`` is the height and width of the decoded image, if known: a JPEG that is decoded at a reduced size may
    round them differently.
    """
    height, width = values.shape
    side = decoder.short_side
    if decoder.resize == "squish":
        return nearest_resized(values, shape or (side, side))
    if decoder.resize == "pad":
        scale = side / max(height, width)
        inner = nearest_resized(values, (max(1, round(height * scale)), max(1, round(width * scale))))
        canvas = np.full((side, side), outside, values.dtype)
        top, left = ((side - length) // 2 for length in inner.shape)
        canvas[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
        return canvas
    longest = LONGEST * min(height, width)
    top, left = (max(0, length - longest) // 2 for length in (height, width))
    values = values[top : top + min(height, longest), left : left + min(width, longest)]
    height, width = values.shape
    scale = side / min(height, width)
    if scale >= 1 and not decoder.enlarge:
        return nearest_resized(values, shape or (height, width))
    return nearest_resized(values, shape or (max(1, round(height * scale)), max(1, round(width * scale))))


def nearest_resized(values: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """Return values (H, W) in another shape; a new pixel has the value of the old pixel at its centre."""
    if values.shape == shape:
        return values
    rows, columns = (
        ((np.arange(new) + 0.5) * (old / new)).astype(np.int64) for old, new in zip(values.shape, shape, strict=True)
    )
    return values[np.minimum(rows, values.shape[0] - 1)[:, None], np.minimum(columns, values.shape[1] - 1)]
