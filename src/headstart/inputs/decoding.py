"""Decode files and arrays to uint8 RGB images of the network's size."""

import contextlib
import hashlib
import io
import logging
import stat
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from headstart.files import printable
from headstart.inputs.collection import Undecoded
from headstart.inputs.deep import (
    ALPHA,
    DECLARED,
    EXTRA_SAMPLES,
    FURTHER_PAGES,
    ORIENTATION,
    SAMPLES,
    TIFF,
    Deep,
    PixelRange,
    UnreadableError,
    behaves_as_alpha,
    deep_values,
    further_bands,
    read_tiff,
)
from headstart.inputs.signature import RGB, Signature
from headstart.progress import counted
from headstart.workers import SHORTAGES, usable_cores

# Pillow raises an error for a file that it cannot decode, and also logs it. deep.py then reads the file.
logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.CRITICAL)
PixelArray = NDArray[np.uint8]
T = TypeVar("T")
RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
AT_ONCE = 16  # images per task of a thread
LONGEST = 8  # ratio of the sides; a longer image is cut at both ends
MOST_PIXELS = 2**28  # 16,384 x 16,384, more than the 200 megapixels of cameras; 0.8 GB decoded
MOST_BYTES = 2 * 1024**3  # in one file
RULES = 3  # the version of decoding; raise it whenever an image decodes differently or no longer decodes
PADDING = 127  # mid-grey around an image that resize=pad makes square; near zero after normalisation

# Pillow warns above this limit and refuses above twice the limit; this module refuses everything above the limit.
Image.MAX_IMAGE_PIXELS = MOST_PIXELS
warnings.filterwarnings("ignore", module=r"PIL\.")  # damaged EXIF in a few images is harmless


@dataclass(frozen=True)
class DecodedImage:
    """One decoded image, and a description of unused parts of its file."""

    image: PixelArray
    content: bytes  # sha256 of the file, or of shape and pixels without a file
    unused: tuple[str, ...] = ()  # phrases such as "fourth band of %d TIFF files"
    deep: bool = False  # whether its values had more than 8 bits
    clipped: bool = False  # whether some of these values are above the range


@dataclass(frozen=True)
class Decoder:
    """Decode images to upright RGB (uint8) at the size that a network needs; every field affects the pixels.

    With ``resize`` "crop", the short side becomes ``short_side`` pixels (antialiased), and very long images are cut.
    "squish" resizes both sides to ``short_side``; "pad" resizes the long side to it and centres the image on grey.
    Without ``enlarge``, a smaller image keeps its size. Values with more than 8 bits are scaled by ``pixel_range``; if
    that is None, they raise NoRangeError. An animation gives its first frame. Transparent pixels become white.
    """

    short_side: int
    interpolation: str = "bilinear"
    resize: str = "crop"
    enlarge: bool = True
    pixel_range: PixelRange | None = DECLARED
    signature: ClassVar[Signature] = RGB

    def __call__(self, image: Undecoded) -> PixelArray:
        """Return the image resized, (H, W, 3) uint8. Raises UnreadableError if it is not complete."""
        with raising_unreadable():
            return self._decode(read_whole(image) if isinstance(image, Path) else image)[0]

    def read(self, image: Undecoded) -> DecodedImage:
        """Decode an image and report unused parts of its file. Raises UnreadableError."""
        source = read_whole(image) if isinstance(image, Path) else image
        with raising_unreadable():
            decoded, deep, unused = self._decode(source)
            clipped = deep is not None and self.pixel_range is not None and deep.is_clipped(self.pixel_range)
        digest = hashlib.sha256(source).digest() if isinstance(source, bytes) else content_hash(source)
        return DecodedImage(decoded, digest, unused, deep is not None and deep.is_deep, clipped)

    def _decode(self, source: bytes | Image.Image | PixelArray) -> tuple[PixelArray, Deep | None, tuple[str, ...]]:
        """Open, rotate, convert and resize an image."""
        content = source if isinstance(source, bytes) else None
        image = _open(source, self.short_side if self.resize == "crop" else None)
        unused: tuple[str, ...] = ()
        if isinstance(image, Image.Image):
            image.load()
            unused = further_frames(image)
        deep = image if isinstance(image, Deep) else deep_values(image, content)
        if isinstance(image, Image.Image) and deep is None:
            image, bands = _first_bands(image, content)
        else:
            assert deep is not None
            image, bands = deep.as_image(self.pixel_range), deep.unused
            image.getexif()[ORIENTATION] = deep.orientation
        try:
            ImageOps.exif_transpose(image, in_place=True)
        except Exception as error:  # unreadable EXIF rotates nothing, as in every viewer
            if is_of_machine(error):
                raise
        image = self._resized(_grey_or_colour(image))
        pixel_rows = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
        return pixel_rows, deep, tuple(dict.fromkeys([*bands, *unused]))

    def _resized(self, image: Image.Image) -> Image.Image:
        side = self.short_side
        if self.resize == "squish":
            return self._scaled(image, (side, side))
        if self.resize == "pad":
            scale = side / max(image.size)
            image = self._scaled(image, (max(1, round(image.width * scale)), max(1, round(image.height * scale))))
            canvas = Image.new(image.mode, (side, side), PADDING if image.mode == "L" else (PADDING,) * 3)
            canvas.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
            return canvas
        image = _shortened(image)
        scale = side / min(image.size)
        if scale >= 1 and not self.enlarge:
            return image
        return self._scaled(image, (max(1, round(image.width * scale)), max(1, round(image.height * scale))))

    def _scaled(self, image: Image.Image, size: tuple[int, int]) -> Image.Image:
        return image if size == image.size else image.resize(size, RESAMPLING[self.interpolation])


def bits_needed(content: bytes) -> tuple[bool, int]:
    """Return whether a file holds floating-point numbers, and the bits of its largest value.

    The bits are 0 if the file has at most 8 bits, or if no range is possible. Raises UnreadableError.
    """
    with raising_unreadable():
        opened = _open(content, None)
        if isinstance(opened, Image.Image):
            opened.load()
            deep = deep_values(opened, content)
        else:
            deep = opened
    return (deep.is_float, deep.bits_needed) if deep is not None else (False, 0)


def read_whole(path: Path) -> bytes:
    """Return the bytes of a regular file. Raises UnreadableError for others, such as pipes, which might never end."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableError(f"it is a {_kind(status.st_mode)}, not a file")
        if not status.st_size:
            raise UnreadableError("the file is empty")
        if status.st_size > MOST_BYTES:
            raise UnreadableError(f"the file has {status.st_size:,} bytes, more than {MOST_BYTES:,}")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError for a path with a zero byte
        if is_of_machine(error):
            raise
        missing = isinstance(error, FileNotFoundError) and path.is_symlink()
        raise UnreadableError("a link that leads nowhere" if missing else _reason(error)) from error


@contextlib.contextmanager
def raising_unreadable() -> Iterator[None]:
    """Turn any error of Pillow into UnreadableError; damaged files can raise nearly anything.

    Errors of the machine pass unchanged: otherwise ``dataset.on_error=skip`` would drop a valid image.
    """
    try:
        yield
    except UnreadableError:
        raise
    except Exception as error:
        if is_of_machine(error):
            raise
        raise UnreadableError(_reason(error)) from error


def is_of_machine(error: BaseException) -> bool:
    """Return whether the machine, not the image, caused the error: no memory, or too many open files."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in SHORTAGES)


def content_hash(image: Undecoded) -> bytes:
    """Return sha256 of a file's bytes, or of shape and pixels without a file. Raises UnreadableError."""
    if isinstance(image, Path):
        return hashlib.sha256(read_whole(image)).digest()
    array = np.ascontiguousarray(image)
    form = f"{array.shape}"
    if isinstance(image, Image.Image) and image.mode not in ("L", "RGB"):
        form += f"{image.mode} {array.dtype} {image.getpalette()}"
    return hashlib.sha256(form.encode() + array.tobytes()).digest()


def _grey_or_colour(image: Image.Image) -> Image.Image:
    """Return mode L or RGB; grey images are resized as one channel and expanded later."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image)
    return image if image.mode in ("RGB", "L") else image.convert("RGB")


def _first_bands(image: Image.Image, content: bytes | None) -> tuple[Image.Image, tuple[str, ...]]:
    """Return an 8-bit image without bands beyond colour and alpha, and a description of the removed bands."""
    if image.format != "TIFF" or content is None:
        return image, ()
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    colours = {"RGBA": 3, "RGB": 3, "LA": 1, "L": 1}.get(image.mode)
    bands = int(tags.get(SAMPLES, 1))
    if colours is None or bands <= colours:
        return image, ()
    if image.mode in ("RGB", "L"):
        return image, (further_bands(colours, bands),)
    if behaves_as_alpha(np.asarray(image.getchannel("A"))):
        return image, (further_bands(colours + 1, bands),) if bands > colours + 1 else ()
    orientation = image.getexif().get(ORIENTATION, 1)
    if tags.get(EXTRA_SAMPLES, (0,))[0] == ALPHA[0]:
        image = _undivided(content)
    image = Image.merge("RGB" if colours == 3 else "L", image.split()[:colours])
    image.getexif()[ORIENTATION] = orientation
    return image, (further_bands(colours, bands),)


def _undivided(content: bytes) -> Image.Image:
    """Open a TIFF whose fourth band is labelled alpha, without dividing the colours by that band."""
    image = Image.open(io.BytesIO(content))
    assert isinstance(image, ImageFile.ImageFile)
    tiles: Any = image.tile
    image.tile = [tile._replace(args=(tile.args[0].upper(), *tile.args[1:])) for tile in tiles]
    image.load()
    return image


def further_frames(image: Image.Image) -> tuple[str, ...]:
    """Return a description of the frames and pages after the first, without decoding them."""
    if image.format == "TIFF":
        tags: Any = getattr(image, "tag_v2", None)
        return (FURTHER_PAGES,) if tags is not None and tags.next else ()
    return ("further frames of %d images",) if getattr(image, "is_animated", False) else ()


def _shortened(image: Image.Image) -> Image.Image:
    """Return the middle of a strip: resizing the short side of a 2 x 3000 image would take gigabytes."""
    longest = LONGEST * min(image.size)
    left, top = (max(0, side - longest) // 2 for side in image.size)
    if not left and not top:
        return image
    return image.crop((left, top, left + min(image.width, longest), top + min(image.height, longest)))


def _open(source: bytes | Image.Image | PixelArray, short_side: int | None) -> Image.Image | Deep:
    if isinstance(source, Image.Image):
        return source.copy()  # it is rotated in place
    if isinstance(source, np.ndarray):
        return Image.fromarray(source)
    try:
        image = Image.open(io.BytesIO(source))
    except UnidentifiedImageError:
        if source.startswith(TIFF):
            return read_tiff(source)
        raise
    if image.format == "EPS":  # Pillow would run Ghostscript on it
        raise UnreadableError("it is PostScript, a program, not an image")
    if not 0 < image.width * image.height <= MOST_PIXELS:
        raise UnreadableError(f"{image.width:,} x {image.height:,} pixels; at most {MOST_PIXELS:,} are decoded")
    if short_side is not None:
        # A JPEG decodes faster at 1/2, 1/4 or 1/8 of its size. At least twice the wanted size keeps the details.
        image.draft("RGB", (2 * short_side, 2 * short_side))
    return image


def decode_each(one: Callable[[int], T], count: int, what: str, workers: int | None = None) -> Iterator[T]:
    """Yield ``one(index)`` for 0 to ``count`` - 1, in order, computed in threads; stop them if the caller stops.

    ``what`` names the task in the progress; ``workers`` is the number of threads, by default one for each core.
    """

    def some(start: int) -> list[T]:
        return [one(index) for index in range(start, min(start + AT_ONCE, count))]

    with ThreadPoolExecutor(workers or usable_cores()) as pool:
        try:
            groups = pool.map(some, range(0, count, AT_ONCE))
            yield from counted((result for group in groups for result in group), what, count)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image that can be identified"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than the {MOST_PIXELS:,} pixels that are decoded"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    lines = printable(str(error).strip().split("\n")[0].rstrip("."))
    expected = isinstance(error, OSError | SyntaxError | ValueError) and lines
    return lines if expected else f"damaged, {type(error).__name__}{': ' if lines else ''}{lines}"


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "named pipe", stat.S_IFSOCK: "socket"}
    return kinds.get(stat.S_IFMT(mode), "device")
