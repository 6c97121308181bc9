"""Read images with more than 8 bits, find the range of a data set, and scale values to 8 bits."""

import io
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Bytes = NDArray[np.uint8]
MOST_VALUES = 2**31  # in a TIFF that tifffile reads
GREY_MODES = ("I;16", "I;16L", "I;16B", "I", "F")
SHALLOW = (b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM")  # first bytes of 8-bit formats: JPEG, GIF, WebP, BMP
FURTHER_PAGES = "further pages of %d TIFF files"
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Tags of a TIFF (TIFF 6.0, 1992)
BITS, PHOTOMETRIC, ORIENTATION, SAMPLES, EXTRA_SAMPLES, SAMPLE_FORMAT = 258, 262, 274, 277, 338, 339
WHITE_IS_ZERO, SIGNED = 0, 2
ALPHA = (1, 2)  # ExtraSamples: premultiplied alpha, and plain alpha
OPAQUE_SHARE, EXTREME_SHARE = 0.05, 0.5  # least fraction of opaque pixels, and of opaque or transparent ones, in alpha


class UnreadableError(Exception):
    """The image is not complete or not readable; the message is a short reason."""


class NoRangeError(UnreadableError):
    """The image can be scaled to 8 bits only with a known range of values."""


@dataclass(frozen=True)
class PixelRange:
    """The value that becomes white, for integers and for floats; None takes what the file declares."""

    integers: int | None = None
    floats: float | None = None

    @classmethod
    def of_bits(cls, bits: int) -> "PixelRange":
        """Return the range for a value of dataset.bits."""
        return cls(2**bits - 1, float(2**bits - 1))


DECLARED = PixelRange()


@dataclass(frozen=True)
class Deep:
    """The first bands of an image as stored in its file."""

    values: NDArray[Any]  # (H, W), or (H, W, 3)
    alpha: NDArray[Any] | None = None  # (H, W), of the same type; the type's largest value is opaque
    multiplied: bool = False  # whether the colours are premultiplied with alpha
    white_is_zero: bool = False
    bits: int | None = None  # declared by the file, if fewer than those of its type
    orientation: int = 1  # as in EXIF
    unused: tuple[str, ...] = ()  # bands and pages that are not read

    @property
    def is_deep(self) -> bool:
        """Return whether the values need a range."""
        return self.values.dtype != np.uint8

    def top(self, known: PixelRange | None) -> float:
        """Return the value that becomes white. Raises UnreadableError for values without a range."""
        if not self.is_deep:
            return 255
        low, high = float(self.values.min()), float(self.values.max())
        if not np.isfinite([low, high]).all():
            raise UnreadableError("some values are NaN or infinite: save it with finite values of at least 0")
        if low < 0:
            raise UnreadableError(f"some values are negative, down to {low:,g}: save it with values of at least 0")
        found = None if known is None else known.floats if self.is_float else known.integers
        if found is None and known is not None and self.values.dtype.str[1:] == "u2":
            found = 2 ** (self.bits or 16) - 1
        if found is None:
            raise NoRangeError("values of this type have no known range: save it with 8 or 16 bits")
        return found

    @property
    def is_float(self) -> bool:
        """Return whether the values are floating-point numbers."""
        return self.values.dtype.kind == "f"

    @property
    def bits_needed(self) -> int:
        """Return the bits of the largest value, or those declared by the file; 0 if no range is needed or possible."""
        high = float(self.values.max()) if self.is_deep else np.inf
        return max(_bits_of(high), self.bits or 0) if np.isfinite(high) else 0

    def is_clipped(self, known: PixelRange) -> bool:
        """Return whether values exceed white; floats may exceed it by less than a half."""
        return self.is_deep and float(self.values.max()) >= self.top(known) + (0.5 if self.is_float else 1)

    def as_image(self, known: PixelRange | None) -> Image.Image:
        """Return an 8-bit image, mode L or RGB, with transparent pixels on white. Raises UnreadableError."""
        grey = self.values if not self.is_deep else _scaled(self.values, self.top(known))
        if self.white_is_zero:
            grey = 255 - grey
        if self.alpha is not None:
            full = np.iinfo(self.alpha.dtype).max
            share = (self.alpha.astype(np.float32) / np.float32(full)).reshape(
                *self.alpha.shape, *[1] * (grey.ndim - 2)
            )
            colour = grey * (np.float32(1) if self.multiplied else share)
            grey = np.clip(colour + 255 * (1 - share) + 0.5, 0, 255).astype(np.uint8)
        return Image.fromarray(np.ascontiguousarray(grey))


def _scaled(values: NDArray[Any], top: float) -> Bytes:
    scaled = np.multiply(values, np.float32(255 / top), dtype=np.float32, casting="unsafe")
    return np.clip(np.rint(scaled, out=scaled), 0, 255, out=scaled).astype(np.uint8)


def deep_values(image: Image.Image, content: bytes | None) -> Deep | None:
    """Return the values of an opened image with more than 8 bits; None for 8 bits. Raises UnreadableError.

    Pillow keeps all bits of grey values, but only the higher byte of 16-bit colours. That byte is nearly black if a
    file uses only 12 bits. Pillow itself scales formats that declare fewer bits (JPEG 2000, PGM with a maximum of
    4,095).
    """
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    if image.mode in GREY_MODES:
        bits = tags.get(BITS, (16,))[0]
        values = np.asarray(image)
        if image.format in ("PNG", "PPM") and image.mode == "I":  # unsigned, though Pillow has no such mode
            values = values.astype(np.uint16)
        return Deep(
            values,
            white_is_zero=tags.get(PHOTOMETRIC) == WHITE_IS_ZERO,
            bits=bits if 8 < bits < 16 else None,
            orientation=_orientation(image),
        )
    if image.mode == "L" and SIGNED in tags.get(SAMPLE_FORMAT, ()):
        return Deep(np.asarray(image).view(np.int8), orientation=_orientation(image))
    if content is None or image.mode not in ("RGB", "RGBA", "LA"):
        return None
    if image.format == "TIFF":
        return read_tiff(content) if tags.get(BITS, (8,))[0] > 8 else None
    if not _has_deep_colours(image, content):
        return None
    return _deep_colours(image, content)


def _has_deep_colours(image: Image.Image, content: bytes) -> bool:
    """Return whether Pillow dropped the lower byte of a colour image."""
    if image.format == "PNG":
        return content[24] == 16  # the depth in the header
    if image.format == "PPM":
        words = re.sub(rb"#[^\n]*", b"", content[:1024]).split(maxsplit=4)
        return words[3:4] == [b"65535"]  # the maximum that the header declares
    if image.format == "JPEG2000":
        start = content.find(b"\xff\x4f\xff\x51")  # start of codestream, then the sizes
        return start >= 0 and content[start + 42] & 0x7F == 15
    return False


def _deep_colours(image: Image.Image, content: bytes) -> Deep:
    values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16:
        raise UnreadableError("its colours of 16 bits cannot be read: save it with 8 bits")
    orientation = _orientation(image)
    if image.mode == "LA":  # OpenCV returns four bands
        return Deep(values[..., 0], values[..., -1], orientation=orientation)
    alpha = values[..., 3] if values.shape[2] == 4 else None
    return Deep(values[..., 2::-1], alpha, orientation=orientation)


def read_tiff(content: bytes) -> Deep:
    """Return the first page of a TIFF with any number of bands and bits: grey, or the first three bands.

    The band after these is alpha only if the file declares it and its values look like alpha. Raises UnreadableError.
    """
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # an unreadable file gives our own error
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page: Any = file.pages[0]
        what = f"a TIFF of {page.samplesperpixel} bands, {page.dtype}, {getattr(page.photometric, 'name', '?').lower()}"
        if (
            page.dtype is None
            or page.dtype.kind not in "uif"
            or page.photometric not in (0, 1, 2)
            or page.size > MOST_VALUES
        ):
            raise UnreadableError(f"{what}, which is not supported")
        ends = zip(page.dataoffsets, page.databytecounts, strict=True)
        if max((start + count for start, count in ends), default=0) > len(content):
            raise UnreadableError("the file is cut off")
        tags = {code: page.tags[code].value for code in (ORIENTATION, EXTRA_SAMPLES) if code in page.tags}
        values, orientation = _tiff_values(page, content, tags.get(ORIENTATION, 1), what)
        unused = [FURTHER_PAGES] if len(file.pages) > 1 else []
    bands = 1 if values.ndim == 2 else values.shape[2]
    extra = tags.get(EXTRA_SAMPLES, ())
    extra = tuple(extra) if isinstance(extra, tuple | list) else (extra,)
    colours = 3 if bands >= 3 else 1
    alpha, multiplied = None, False
    if bands == colours + 1 and extra and extra[0] in ALPHA and behaves_as_alpha(values[..., -1]):
        alpha, multiplied = values[..., -1], extra[0] == ALPHA[0]
    elif bands > colours:
        unused.insert(0, further_bands(colours, bands))
    values = values if values.ndim == 2 else values[..., 0] if colours == 1 else values[..., :3]
    bits = page.bitspersample if page.dtype == np.uint16 and page.bitspersample < 16 else None
    return Deep(
        values,
        alpha,
        multiplied,
        page.photometric == WHITE_IS_ZERO,
        bits,
        orientation=orientation,
        unused=tuple(unused),
    )


def _tiff_values(page: Any, content: bytes, orientation: int, what: str) -> tuple[NDArray[Any], int]:
    """Return (H, W) or (H, W, bands) and the orientation; OpenCV reads compressions that tifffile does not."""
    try:
        values: Any = page.asarray()
    except ValueError as error:
        values = None
        if orientation == 1 and page.planarconfig == 1 and page.samplesperpixel in (1, 3, 4):
            values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        if values is None or values.dtype != page.dtype:
            raise UnreadableError(f"{what}, {page.compression.name}, which is not supported") from error
        return values if values.ndim == 2 else values[..., [2, 1, 0, 3][: values.shape[2]]], orientation
    if values.ndim == 3 and page.planarconfig == 2:
        values = np.moveaxis(values, 0, 2)
    if values.ndim not in (2, 3):
        raise UnreadableError(f"{what}, of shape {values.shape}, which is not supported")
    return values, orientation


def behaves_as_alpha(band: NDArray[Any]) -> bool:
    """Return whether the values of a TIFF's alpha band (H, W) look like alpha.

    Many programs label any fourth band alpha; Pillow does so for near infrared. Alpha is opaque somewhere; most
    of its pixels are opaque or transparent, and few are in between, at soft borders. An image band mostly has values
    in between.
    """
    if band.dtype.kind != "u":
        return False
    opaque = float((band == np.iinfo(band.dtype).max).mean())
    return opaque >= OPAQUE_SHARE and opaque + float((band == 0).mean()) >= EXTREME_SHARE


def further_bands(read: int, bands: int) -> str:
    """Return a description of the bands after those that are read, with %d for the number of files."""
    if bands == read + 1:
        return f"{'fourth' if read == 3 else 'second'} band of %d TIFF files"
    return f"bands after the {'third' if read == 3 else 'first'} of %d TIFF files"


def may_be_deep(start: bytes) -> bool:
    """Return whether a file with these first bytes (32 or more) may have more than 8 bits."""
    return not start.startswith(SHALLOW) and not (start.startswith(b"\x89PNG") and start[24:25] != b"\x10")


def common_range(needed: Iterable[tuple[bool, int]]) -> PixelRange:
    """Return one range for all images of a data set, given (is_float, bits_needed) of each.

    White is the largest value of all, rounded up to a power of two minus one. Files that declare fewer bits than their
    type has, such as 12-bit TIFFs, count with the declared bits. Floats have their own range: 0 to 1 if none is above
    1.
    """
    most = {True: 0, False: 0}
    for is_float, bits in needed:
        most[is_float] = max(most[is_float], bits)
    return PixelRange(2 ** most[False] - 1 or None, float(2 ** most[True] - 1) or None)


def _bits_of(value: float) -> int:
    """Return how many bits a value needs, at least one; fractions are rounded first, so 1.02 needs one."""
    return max(1, round(max(0.0, value)).bit_length())


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # unreadable EXIF rotates nothing, as in every viewer
        return 1
