"""Read label images (masks), which have a class for each pixel."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headstart.inputs.decoding import raising_unreadable, read_whole
from headstart.inputs.deep import UnreadableError
from headstart.inputs.pixel_files import PixelFile, open_upright, upright

Labels = NDArray[np.int16]
IGNORED = -1  # a pixel without a class
UNKNOWN = -2  # marks a value without a class in ``LabelReader.table``
MOST_CLASSES = 2**15
NAMED = 3  # unknown values named in a message
INDEX_MODES = ("1", "L", "P", "I;16", "I;16B", "I")  # of Pillow


@dataclass(frozen=True)
class LabelFile(PixelFile):
    """Facts about a file of labels."""

    counts: tuple[int, ...]  # pixels of each class, without ignored ones


@dataclass(frozen=True)
class LabelReader:
    """Read files of labels as int16 (H, W), with -1 where a pixel has no class.

    Without ``colours``, the value of a pixel in a grey or palette file is an index. With ``colours``, the index is that
    of the pixel's colour among them. ``table`` gives the class of each index: -1 ignores the pixel, and -2 is an
    unknown value, which raises an error. ``table`` None keeps all indices.
    """

    classes: int
    table: tuple[int, ...] | None = None
    colours: tuple[tuple[int, int, int], ...] | None = None
    dtype = np.dtype(np.int64)  # of targets
    outside: Any = IGNORED  # the value of padding

    def read(self, content: bytes, turn: int = 1) -> Labels:
        """Return the labels in the bytes of a file, upright. Raises UnreadableError."""
        with raising_unreadable():
            image = open_upright(content, turn)
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

    def stored_size(self, path: Path) -> tuple[int, int]:
        """Return width and height, upright. Raises UnreadableError."""
        return upright(path)[0]

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


def largest_value(path: Path, ignore_index: int | None) -> int:
    """Return the largest class index of a file; -1 if all pixels are ignored. Raises UnreadableError."""
    values = LabelReader(0).read(read_whole(path))
    used = values[values != (UNKNOWN if ignore_index is None else ignore_index)]
    return int(used.max()) if used.size else -1


def _places(pixels: NDArray[np.uint8], colours: Sequence[tuple[int, int, int]]) -> NDArray[np.int64]:
    """Return the index of each pixel's colour among ``colours``, (H, W); -1 for any other colour."""
    codes = (pixels.astype(np.int64) << (16, 8, 0)).sum(axis=2)
    wanted = np.array([(red << 16) + (green << 8) + blue for red, green, blue in colours], dtype=np.int64)
    order = np.argsort(wanted, kind="stable")
    found = np.minimum(np.searchsorted(wanted, codes, sorter=order), len(wanted) - 1)
    return np.where(wanted[order][found] == codes, order[found], IGNORED)
