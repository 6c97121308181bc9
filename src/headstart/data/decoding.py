"""Files and arrays to RGB pictures whose short side fits the network, as uint8."""

import contextlib
import hashlib
import io
import os
import stat
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from headstart.data.collection import Collection, Undecoded
from headstart.errors import DataError
from headstart.files import printable

Picture = NDArray[np.uint8]
T = TypeVar("T")
RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
AT_ONCE = 16  # pictures a task of a thread
LONGEST = 8  # a longer side than this many short ones is cut at both ends
MOST_PIXELS = 2**28  # 16,384 x 16,384: the 200 megapixels of today's cameras, 0.8 GB decoded
MOST_BYTES = 2 * 1024**3  # of one file
NAMED = 3  # broken pictures that a sentence names
RULES = 2  # one more whenever a picture that could be decoded no longer can: earlier checks are then made again

# Pillow warns above its limit and refuses from twice that on: here its limit is ours, and whatever is above is refused.
Image.MAX_IMAGE_PIXELS = MOST_PIXELS
warnings.filterwarnings("ignore", module=r"PIL\.")  # damaged EXIF of one picture among thousands is no news


class UnreadableError(Exception):
    """What is no whole picture; the message is the reason, in a few words."""


@dataclass(frozen=True)
class Decoder:
    """Upright RGB pictures, the short side resized to ``short_side`` pixels (antialiased), cut where far too long.

    Of an animation it is the first frame. What is transparent lies on white. 16 bits become 8 by their higher byte.
    """

    short_side: int
    interpolation: str = "bilinear"

    def __call__(self, picture: Undecoded) -> Picture:
        """(H, W, 3) uint8 with min(H, W) = short_side; raises UnreadableError for what is no whole picture."""
        source = io.BytesIO(read_whole(picture)) if isinstance(picture, Path) else picture
        with told_as_unreadable():
            return self.decode(_open(source, self.short_side))

    def with_digest(self, picture: Undecoded) -> tuple[Picture, bytes]:
        """The picture, and the hash of what it was made from; raises UnreadableError."""
        if isinstance(picture, Path):
            content = read_whole(picture)
            with told_as_unreadable():
                return self.decode(_open(io.BytesIO(content), self.short_side)), hashlib.sha256(content).digest()
        return self(picture), content_hash(picture)

    def decode(self, image: Image.Image) -> Picture:
        """Turn, convert and resize an opened picture, which may be changed."""
        image.load()
        with contextlib.suppress(Exception):  # EXIF that cannot be read turns nothing, as in every viewer
            ImageOps.exif_transpose(image, in_place=True)
        image = _shortened(_grey_or_colour(image))
        scale = self.short_side / min(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        if size != image.size:
            image = image.resize(size, RESAMPLING[self.interpolation])
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def read_whole(path: Path) -> bytes:
    """The bytes of a regular file. Raises UnreadableError, at once, for what is none: a pipe would never end."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableError(f"it is a {_kind(status.st_mode)}, not a file")
        if not status.st_size:
            raise UnreadableError("the file is empty")
        if status.st_size > MOST_BYTES:
            raise UnreadableError(f"the file has {status.st_size:,} bytes, more than {MOST_BYTES:,}")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # the latter for a path with a zero byte
        missing = isinstance(error, FileNotFoundError) and path.is_symlink()
        raise UnreadableError("a link that leads nowhere" if missing else _reason(error)) from error


@contextlib.contextmanager
def told_as_unreadable() -> Iterator[None]:
    """Whatever Pillow raises becomes UnreadableError: on damaged files it can be nearly anything."""
    try:
        yield
    except UnreadableError:
        raise
    except Exception as error:
        raise UnreadableError(_reason(error)) from error


def content_hash(picture: Undecoded) -> bytes:
    """sha256 of a file's bytes, or of shape and pixels where there is no file; raises UnreadableError."""
    if isinstance(picture, Path):
        return hashlib.sha256(read_whole(picture)).digest()
    array = np.ascontiguousarray(picture)
    form = f"{array.shape}"
    if isinstance(picture, Image.Image) and picture.mode not in ("L", "RGB"):
        form += f"{picture.mode} {array.dtype} {picture.getpalette()}"
    return hashlib.sha256(form.encode() + array.tobytes()).digest()


def _grey_or_colour(image: Image.Image) -> Image.Image:
    """Mode L or RGB: three equal channels are resized as one and multiplied afterwards."""
    if image.mode in ("I;16", "I;16B", "I;16L") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return _from_16_bits(image)
    if image.mode in ("I", "F"):
        raise UnreadableError("grey values of 32 bits, or signed ones, have no known range: save it with 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image)
    return image if image.mode in ("RGB", "L") else image.convert("RGB")


def _from_16_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits, or of a TIFF's 12, to 8, scaled."""
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    bits = tags.get(258, (16,))[0]  # BitsPerSample
    values = np.asarray(image) >> (bits - 8 if 8 < bits <= 16 else 8)
    if tags.get(262) == 0:  # PhotometricInterpretation: white is zero
        values = 255 - values
    return Image.fromarray(values.astype(np.uint8))


def _shortened(image: Image.Image) -> Image.Image:
    """The middle of a strip: a 2 x 3000 picture would else grow to gigabytes when its short side is resized."""
    longest = LONGEST * min(image.size)
    left, top = (max(0, side - longest) // 2 for side in image.size)
    if not left and not top:
        return image
    return image.crop((left, top, left + min(image.width, longest), top + min(image.height, longest)))


def _open(picture: Image.Image | Picture | io.BytesIO, short_side: int) -> Image.Image:
    if isinstance(picture, Image.Image):
        return picture.copy()  # as it is turned in place
    if isinstance(picture, np.ndarray):
        return Image.fromarray(picture)
    image = Image.open(picture)
    if image.format == "EPS":  # Pillow would run Ghostscript on it
        raise UnreadableError("it is PostScript, a program, not a picture")
    if not 0 < image.width * image.height <= MOST_PIXELS:
        raise UnreadableError(f"{image.width:,} x {image.height:,} pixels; at most {MOST_PIXELS:,} are decoded")
    # A JPEG can be decoded at a half, a quarter or an eighth; twice the wanted size keeps the resize clean.
    image.draft("RGB", (2 * short_side, 2 * short_side))
    return image


@dataclass(frozen=True)
class Decoded:
    """The outcome of one pass over a collection."""

    kept: NDArray[np.int64]  # positions in the collection of those that could be read
    pictures: list[Picture] | None  # None when they would not fit into memory
    contents: list[bytes]  # sha256 of each that could be read
    unreadable: dict[str, str]  # the names of the others, each with the reason


def decode_all(collection: Collection, decoder: Decoder, keep: bool, what: str, workers: int | None = None) -> Decoded:
    """Decode every picture once, in threads: to check it, to hash it, and to keep it if asked."""

    def one(index: int) -> tuple[Picture | None, bytes, str | None]:
        try:
            picture, content = decoder.with_digest(collection.pictures[index])
        except UnreadableError as error:
            return None, b"", str(error)
        return (picture if keep else None), content, None

    pictures: list[Picture] = []
    positions, contents = [], []
    unreadable = {}
    for index, (picture, content, reason) in enumerate(decode_each(one, len(collection), f"reading {what}", workers)):
        if reason is not None:
            unreadable[collection.ids[index]] = reason
            continue
        positions.append(index)
        contents.append(content)
        if picture is not None:
            pictures.append(picture)
    return Decoded(np.array(positions, dtype=np.int64), pictures if keep else None, contents, unreadable)


def refuse(unreadable: Mapping[str, str], of: int) -> None:
    """Raise DataError if any of so many pictures cannot be read: how many, the first of them, and why."""
    if not unreadable:
        return
    named = [f"'{name}' ({reason})" for name, reason in list(unreadable.items())[:NAMED]]
    if len(unreadable) == 1:
        ((name, reason),) = unreadable.items()
        what, them = f"The picture '{name}' cannot be read ({reason})", "it"
    else:
        more = f" and {len(unreadable) - len(named)} more" if len(unreadable) > len(named) else ""
        what, them = f"{len(unreadable)} of {of} pictures cannot be read: {', '.join(named)}{more}", "them"
    raise DataError(f"{what}; replace {them}, or leave such pictures out with dataset.on_error=skip.")


def decode_each(one: Callable[[int], T], count: int, what: str, workers: int | None = None) -> Iterator[T]:
    """``one`` of every position, in order, in threads; the rest is called off if the caller stops early."""

    def some(start: int) -> list[T]:
        return [one(index) for index in range(start, min(start + AT_ONCE, count))]

    with ThreadPoolExecutor(workers or usable_cores()) as pool:
        try:
            groups = pool.map(some, range(0, count, AT_ONCE))
            yield from progress((result for group in groups for result in group), what, count)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def usable_cores() -> int:
    """Cores that this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def progress(iterable: Iterable[T], what: str, total: int) -> Iterable[T]:
    """A progress bar that shows up only on a terminal and only after two seconds."""
    return tqdm(iterable, desc=what, total=total, delay=2, disable=None, leave=False)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not a picture that can be identified"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than the {MOST_PIXELS:,} pixels that are decoded"
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    lines = printable(str(error).strip().split("\n")[0].rstrip("."))
    expected = isinstance(error, OSError | SyntaxError | ValueError) and lines
    return lines if expected else f"damaged, {type(error).__name__}{': ' if lines else ''}{lines}"


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "named pipe", stat.S_IFSOCK: "socket"}
    return kinds.get(stat.S_IFMT(mode), "device")
