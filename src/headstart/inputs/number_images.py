"""Read images with a number for each pixel, such as depth, from NumPy, TIFF or PNG files."""

import hashlib
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from headstart.inputs.decoding import MOST_PIXELS, raising_unreadable, read_whole
from headstart.inputs.deep import ORIENTATION, UnreadableError
from headstart.inputs.pixel_files import PixelFile, open_upright, upright

NUMPY = b"\x93NUMPY"
NUMBER_MODES = ("L", "I;16", "I;16B", "I", "F")  # of Pillow
LARGEST = 1e30  # size of a number, so that sums of squares stay finite


@dataclass(frozen=True)
class NumberFile(PixelFile):
    """Facts about a file of numbers."""

    count: int  # pixels with a number
    total: float  # the sum of the numbers
    squares: float  # the sum of their squares
    low: float  # infinity without a number
    high: float


@dataclass(frozen=True)
class NumberReader:
    """Read files of numbers as float32 (H, W). NaN, or the value ``ignored``, marks a pixel without a number."""

    ignored: int | None = None
    dtype = np.dtype(np.float32)  # of targets
    outside: Any = math.nan  # the value of padding

    def read(self, content: bytes, turn: int = 1) -> NDArray[np.float32]:
        """Return the numbers in the bytes of a file, upright. Raises UnreadableError."""
        with raising_unreadable():
            values = _numpy_values(content, turn) if content.startswith(NUMPY) else _image_values(content, turn)
        if np.isinf(values).any():
            raise UnreadableError(
                "it holds an infinite number; expected finite numbers, or NaN for a pixel without a number"
            )
        none = np.isnan(values) | (values == self.ignored) if self.ignored is not None else np.isnan(values)
        if (np.abs(values[~none]) > LARGEST).any():
            raise UnreadableError(f"it holds a number beyond {LARGEST:g}")
        values = values.astype(np.float32)
        values[none] = np.nan
        return values

    def look(self, path: Path, turn: int = 1) -> NumberFile:
        """Return the facts of a file. Raises UnreadableError."""
        content = read_whole(path)
        values = self.read(content, turn)
        height, width = values.shape
        known = values[~np.isnan(values)].astype(np.float64)
        low, high = (float(known.min()), float(known.max())) if known.size else (math.inf, -math.inf)
        sums = float(known.sum()), float((known**2).sum())
        return NumberFile(hashlib.sha256(content).hexdigest(), width, height, known.size, *sums, low, high)

    def stored_size(self, path: Path) -> tuple[int, int]:
        """Return width and height, upright. Raises UnreadableError."""
        with path.open("rb") as file:
            if file.read(len(NUMPY)) != NUMPY:
                return upright(path)[0]
        height, width = self.read(read_whole(path)).shape
        return width, height


def _numpy_values(content: bytes, turn: int) -> NDArray[Any]:
    """Return the numbers of a .npy file, (H, W). Raises UnreadableError."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise UnreadableError(f"version {version[0]}.{version[1]} of the NumPy format is not read")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.kind not in "fiu":
        raise UnreadableError(f"an array of {dtype} holds no numbers")
    if len(shape) == 3 and 1 in (shape[0], shape[2]):
        shape = tuple(length for axis, length in enumerate(shape) if axis == 1 or length > 1)
    if len(shape) != 2 or not 0 < math.prod(shape) <= MOST_PIXELS:
        raise UnreadableError(f"an array of shape {shape} is no image of numbers; expected (height, width)")
    if len(content) - file.tell() != math.prod(shape) * dtype.itemsize:  # before an array of this shape takes memory
        raise UnreadableError("the array is cut off")
    values = np.load(io.BytesIO(content), allow_pickle=False).reshape(shape)
    if turn == 1:
        return values  # type: ignore[no-any-return]
    image = Image.fromarray(values.astype(np.float32))
    image.getexif()[ORIENTATION] = turn
    return np.asarray(ImageOps.exif_transpose(image))


def _image_values(content: bytes, turn: int) -> NDArray[Any]:
    """Return the numbers of an image file, (H, W). Raises UnreadableError."""
    image = open_upright(content, turn)
    if image.mode not in NUMBER_MODES:
        raise UnreadableError(f"an image of the kind {image.mode} has no number for each pixel; expected one grey band")
    return np.asarray(image)
