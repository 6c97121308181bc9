"""Apply the operations of the policies to one image, by OpenCV on bytes.

An operation is a name and a signed magnitude in physical units. All policies, and the batch form in
``batch_operations``, use these units:

==========================  =======================================================================================
rotate                      degrees, counter-clockwise
shear_x, shear_y            pixels to the left or upward, per pixel of distance from the upper left corner
translate_x, translate_y    fraction of the width or height, to the right or downward, rounded to whole pixels
brightness, contrast,       factor of Pillow's ImageEnhance: 1 keeps the image; 0 gives black, uniform mean grey,
color, sharpness            the grey image or the smoothed one; above 1 moves away from that
hue                         fraction of a full turn of the hue, -0.5 to 0.5
posterize                   bits kept, 1 to 8
solarize                    pixels from this value on are inverted, 0 to 256
blur                        standard deviation of a Gaussian in pixels
jpeg                        quality, 1 to 100
autocontrast, equalize,     no magnitude
invert, identity
==========================  =======================================================================================

Rotation, shear and translation fill the uncovered area with black.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from headstart.augmentations.view import LabelArray, PixelArray

Step = tuple[str, float]  # an operation and its magnitude
Matrix = NDArray[np.float64]

cv2.setNumThreads(1)  # images are small, and loaders already run in parallel

GEOMETRIC = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
GREY = np.array([0.299, 0.587, 0.114])  # ITU-R 601, as in Pillow and OpenCV
SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13  # Pillow's ImageFilter.SMOOTH
_LEVELS = np.arange(256)
_CHANNELS = np.arange(3)


def apply_steps(image: PixelArray, steps: Sequence[Step]) -> PixelArray:
    """Return the image (H, W, 3) after all operations, in order."""
    for name, magnitude in steps:
        image = OPERATIONS[name](image, magnitude)
    return image


def move_labels(labels: LabelArray, steps: Sequence[Step], outside: Any) -> LabelArray:
    """Return a label image (H, W) after the geometric ones of the steps, by the nearest pixel."""
    height, width = labels.shape
    for name, magnitude in steps:
        if name not in GEOMETRIC:
            continue
        x, y = source_matrix(name, magnitude, height, width) @ _places(height, width)
        column, row = np.floor(x + 0.5).astype(np.int64), np.floor(y + 0.5).astype(np.int64)
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        moved = np.full(height * width, outside, labels.dtype)
        moved[inside] = labels[row[inside], column[inside]]
        labels = moved.reshape(height, width)
    return labels


@lru_cache(maxsize=4)
def _places(height: int, width: int) -> Matrix:
    """Return the place (x, y, 1) of every pixel, (3, height * width)."""
    rows, columns = np.indices((height, width)).reshape(2, -1)
    return np.stack([columns, rows, np.ones(height * width)]).astype(np.float64)


def source_matrix(name: str, magnitude: float, height: int, width: int) -> Matrix:
    """Return the matrix (2, 3) from a result pixel (x, y, 1) to its source; pixel centres are whole numbers."""
    if name == "rotate":
        angle = math.radians(magnitude)
        cosine, sine = math.cos(angle), math.sin(angle)
        x, y = (width - 1) / 2, (height - 1) / 2
        return np.array([[cosine, -sine, x - cosine * x + sine * y], [sine, cosine, y - sine * x - cosine * y]])
    if name == "shear_x":
        return np.array([[1, magnitude, 0], [0, 1, 0]], np.float64)
    if name == "shear_y":
        return np.array([[1, 0, 0], [magnitude, 1, 0]], np.float64)
    x, y = shift(name, magnitude, height, width)
    return np.array([[1, 0, -x], [0, 1, -y]], np.float64)


def shift(name: str, magnitude: float, height: int, width: int) -> tuple[int, int]:
    """Return the translation in whole pixels, to the right and downward."""
    return (round(magnitude * width), 0) if name == "translate_x" else (0, round(magnitude * height))


def hue_steps(magnitude: float) -> int:
    """Return a shift of the hue in 256ths of a turn, from 0 to 255."""
    return round(magnitude * 256) % 256


def _warp(name: str) -> Callable[[PixelArray, float], PixelArray]:
    def warped(image: PixelArray, magnitude: float) -> PixelArray:
        height, width = image.shape[:2]
        matrix = source_matrix(name, magnitude, height, width)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(image, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_CONSTANT)  # type: ignore[return-value]

    return warped


def _translate(name: str) -> Callable[[PixelArray, float], PixelArray]:
    def moved(image: PixelArray, magnitude: float) -> PixelArray:
        height, width = image.shape[:2]
        x, y = shift(name, magnitude, height, width)
        result = np.zeros_like(image)
        if abs(x) < width and abs(y) < height:
            result[max(y, 0) : height + min(y, 0), max(x, 0) : width + min(x, 0)] = image[
                max(-y, 0) : height - max(y, 0), max(-x, 0) : width - max(x, 0)
            ]
        return result

    return moved


def _through(image: PixelArray, table: NDArray[np.uint8]) -> PixelArray:
    """Map each value through a table (256,), or (256, 3) for one table per channel."""
    return cv2.LUT(image, table if table.ndim == 1 else table[None])  # type: ignore[return-value]


def _autocontrast(image: PixelArray, _: float) -> PixelArray:
    """Stretch each channel to 0..255, as Pillow's ImageOps.autocontrast, but rounded."""
    stretch = np.zeros((3, 4), np.float32)
    for place, channel in enumerate(cv2.split(image)):
        low, high = cv2.minMaxLoc(channel)[:2]
        scale = 255 / (high - low) if high > low else 1.0
        stretch[place, place], stretch[place, 3] = scale, -low * scale if high > low else 0.0
    return cv2.transform(image, stretch)  # type: ignore[return-value]


def _equalize(image: PixelArray, _: float) -> PixelArray:
    """Flatten each channel's histogram, as Pillow's ImageOps.equalize."""
    found = [cv2.calcHist([image], [channel], None, [256], [0, 256]).ravel() for channel in range(3)]
    counts = np.array(found, np.int32)
    up_to = counts.cumsum(axis=1)
    highest = (up_to < up_to[:, -1:]).sum(axis=1)  # Pillow ignores the pixels of the highest level
    step = (up_to[:, -1] - counts[_CHANNELS, highest]) // 255
    tables = (up_to - counts + (step // 2)[:, None]) // np.maximum(step, 1)[:, None]
    tables[step == 0] = _LEVELS
    return _through(image, np.minimum(tables, 255).astype(np.uint8).T)


def _invert(image: PixelArray, _: float) -> PixelArray:
    return 255 - image


def _posterize(image: PixelArray, bits: float) -> PixelArray:
    return image & np.uint8(256 - (1 << (8 - round(bits))))


def _solarize(image: PixelArray, threshold: float) -> PixelArray:
    # Batches hold the threshold in single precision, so both forms invert the same pixels.
    return _through(image, _inverted_from(math.ceil(np.float32(threshold))))


@lru_cache(maxsize=257)
def _inverted_from(threshold: int) -> NDArray[np.uint8]:
    return np.where(threshold <= _LEVELS, 255 - _LEVELS, _LEVELS).astype(np.uint8)


def _brightness(image: PixelArray, factor: float) -> PixelArray:
    return _through(image, np.clip(_LEVELS * factor + 0.5, 0, 255).astype(np.uint8))


def _contrast(image: PixelArray, factor: float) -> PixelArray:
    middle = math.floor(cv2.mean(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[0] + 0.5)
    return _through(image, np.clip(middle + (_LEVELS - middle) * factor + 0.5, 0, 255).astype(np.uint8))


def _color(image: PixelArray, factor: float) -> PixelArray:
    matrix = factor * np.eye(3) + (1 - factor) * GREY
    return cv2.transform(image, matrix.astype(np.float32))  # type: ignore[return-value]


def _sharpness(image: PixelArray, factor: float) -> PixelArray:
    smooth = image.copy()  # the border stays: it has too few neighbours
    smooth[1:-1, 1:-1] = cv2.filter2D(image, -1, SMOOTH)[1:-1, 1:-1]
    return cv2.addWeighted(image, factor, smooth, 1 - factor, 0)  # type: ignore[return-value]


def _hue(image: PixelArray, magnitude: float) -> PixelArray:
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(hue_steps(magnitude))  # wraps around, as the hue does
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)  # type: ignore[return-value]


def _blur(image: PixelArray, sigma: float) -> PixelArray:
    side = blur_side(sigma)
    return cv2.GaussianBlur(image, (side, side), sigma, borderType=cv2.BORDER_REPLICATE)  # type: ignore[return-value]


def blur_side(sigma: float) -> int:
    """Return the side, in pixels, of a kernel that covers three standard deviations on each side."""
    return 2 * max(1, math.ceil(3 * sigma)) + 1


def _jpeg(image: PixelArray, quality: float) -> PixelArray:
    bgr = np.ascontiguousarray(image[..., ::-1])  # imencode needs BGR to subsample the right channels
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, round(quality)])
    return np.ascontiguousarray(np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)[..., ::-1])


OPERATIONS: dict[str, Callable[[PixelArray, float], PixelArray]] = {
    "identity": lambda image, _: image,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
    "invert": _invert,
    "posterize": _posterize,
    "solarize": _solarize,
    "brightness": _brightness,
    "contrast": _contrast,
    "color": _color,
    "sharpness": _sharpness,
    "hue": _hue,
    "blur": _blur,
    "jpeg": _jpeg,
    "rotate": _warp("rotate"),
    "shear_x": _warp("shear_x"),
    "shear_y": _warp("shear_y"),
    "translate_x": _translate("translate_x"),
    "translate_y": _translate("translate_y"),
}
