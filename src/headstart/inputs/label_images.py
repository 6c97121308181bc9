"""Read label images (masks), which have a class for each pixel, and give them the geometry of their image."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from headstart.inputs.decoding import LONGEST, MOST_PIXELS, Decoder, raising_unreadable, read_whole
from headstart.inputs.deep import ORIENTATION, UnreadableError

Labels = NDArray[np.int16]
IGNORED = -1  # a pixel without a class
UNKNOWN = -2  # in tables: a value without a class
MOST_CLASSES = 2**15
NAMED = 3  # unknown values named in a message
INDEX_MODES = ("1", "L", "P", "I;16", "I;16B", "I")  # of Pillow
QUARTER_TURNS = (5, 6, 7, 8)  # EXIF orientations that swap width and height


@dataclass(frozen=True)
class LabelFile:
    """What a file says of its labels."""

    digest: str  # sha256 of the file, in hex
    width: int  # pixels, of the upright image
    height: int
    counts: tuple[int, ...]  # pixels of each class, without ignored ones


@dataclass(frozen=True)
class LabelReader:
    """Read files of labels as int16 (H, W), with -1 where a pixel has no class.

    Without ``colours``, the values of a grey or palette file are indices: ``table`` has the class of each, or -1 or -2
    for a pixel to ignore and for an unknown value. ``table`` None keeps all values. With ``colours``, a pixel has the
    place of its colour among them, which is then looked up.
    """

    classes: int
    table: tuple[int, ...] | None = None
    colours: tuple[tuple[int, int, int], ...] | None = None
    dtype = np.dtype(np.int64)  # of targets
    outside: Any = IGNORED  # what pixels outside the image have

    def read(self, content: bytes, turn: int = 1) -> Labels:
        """Return the labels in the bytes of a file, turned upright. Raises UnreadableError.

        ``turn`` is the EXIF orientation of a file that does not state its own.
        """
        with raising_unreadable():
            image = open_labels(content, turn)
            if self.colours is not None:
                values = _places(np.asarray(image.convert("RGB")), self.colours)
            elif image.mode in INDEX_MODES:
                values = np.asarray(image).astype(np.int64)
            else:
                raise UnreadableError(
                    f"a colour image ({image.mode}) has no class indices: name its colours with dataset.palette=FILE"
                )
        if self.table is None:
            return values.astype(np.int16)
        table = np.array([*self.table, UNKNOWN], dtype=np.int16)
        labels = table[np.where((values < 0) | (values >= len(self.table)), len(self.table), values)]
        if labels.min() == UNKNOWN:
            raise UnreadableError(self._unknown(image, values[labels == UNKNOWN]))
        return labels

    def look(self, path: Path, turn: int = 1) -> LabelFile:
        """Return the facts of a file. Raises UnreadableError, also for values without a class."""
        content = read_whole(path)
        labels = self.read(content, turn)
        counts = np.bincount(labels[labels != IGNORED].ravel(), minlength=self.classes)
        height, width = labels.shape
        return LabelFile(hashlib.sha256(content).hexdigest(), width, height, tuple(counts.tolist()))

    def _unknown(self, image: Image.Image, values: NDArray[np.int64]) -> str:
        """Return a phrase on values without a class."""
        if self.colours is not None:
            pixels = np.asarray(image.convert("RGB"))
            places = _places(pixels, self.colours)
            red, green, blue = pixels[places < 0][0].tolist()
            return f"the palette has no colour {red} {green} {blue}"
        found = np.unique(values)
        named = ", ".join(map(str, found[:NAMED].tolist())) + ", ..." * (len(found) > NAMED)
        hint = "; for 'no class' set dataset.ignore_index=255" if found.tolist() == [255] else ""
        return f"value {named}, but there are only {self.classes} classes{hint}"


def open_labels(content: bytes, turn: int = 1) -> Image.Image:
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


def largest_value(path: Path, ignore_index: int | None) -> int:
    """Return the largest class index of a file; -1 if all pixels are ignored. Raises UnreadableError."""
    values = LabelReader(0).read(read_whole(path))
    used = values[values != (UNKNOWN if ignore_index is None else ignore_index)]
    return int(used.max()) if used.size else -1


def _places(pixels: NDArray[np.uint8], colours: Sequence[tuple[int, int, int]]) -> NDArray[np.int64]:
    """Return the place of each pixel's colour among ``colours``, (H, W); -1 where it is none of them."""
    codes = (pixels.astype(np.int64) << (16, 8, 0)).sum(axis=2)
    wanted = np.array([(red << 16) + (green << 8) + blue for red, green, blue in colours], dtype=np.int64)
    order = np.argsort(wanted, kind="stable")
    found = np.minimum(np.searchsorted(wanted, codes, sorter=order), len(wanted) - 1)
    return np.where(wanted[order][found] == codes, order[found], IGNORED)


def fitted(values: NDArray[Any], decoder: Decoder, outside: Any, shape: tuple[int, int] | None = None) -> NDArray[Any]:
    """Return values (H, W) as ``decoder`` resizes their image, by the nearest pixel; padding is ``outside``.

    ``shape`` is the height and width of the decoded image, where it is known: the draft of a JPEG may round them
    otherwise.
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
    """Return values (H, W) in another shape: each pixel takes the one that holds its centre."""
    if values.shape == shape:
        return values
    rows, columns = (
        ((np.arange(new) + 0.5) * (old / new)).astype(np.int64) for old, new in zip(values.shape, shape, strict=True)
    )
    return values[np.minimum(rows, values.shape[0] - 1)[:, None], np.minimum(columns, values.shape[1] - 1)]
