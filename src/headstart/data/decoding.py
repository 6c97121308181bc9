"""Files and arrays to RGB pictures whose short side fits the network, as uint8."""

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from headstart.data.collection import Collection, Undecoded
from headstart.errors import DataError

Picture = NDArray[np.uint8]
T = TypeVar("T")
RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
AT_ONCE = 16  # pictures a task of a thread
LONGEST = 8  # a longer side than this many short ones is cut at both ends
UNREADABLE = (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError)


@dataclass(frozen=True)
class Decoder:
    """Upright RGB pictures, the short side resized to ``short_side`` pixels (antialiased), cut where far too long."""

    short_side: int
    interpolation: str = "bilinear"

    def __call__(self, picture: Undecoded) -> Picture:
        """(H, W, 3) uint8 with min(H, W) = short_side; raises one of UNREADABLE for what is no whole picture."""
        return self.decode(_open(picture, self.short_side))

    def with_digest(self, picture: Undecoded) -> tuple[Picture, bytes]:
        """The picture, and the hash of what it was made from."""
        if isinstance(picture, Path):
            content = picture.read_bytes()
            return self.decode(_open(io.BytesIO(content), self.short_side)), hashlib.sha256(content).digest()
        return self(picture), content_hash(picture)

    def decode(self, image: Image.Image) -> Picture:
        """Turn, convert and resize an opened picture, which may be changed."""
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode in ("I;16", "I;16B", "I;16L"):
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.mode not in ("RGB", "L"):  # three equal channels are resized as one and multiplied afterwards
            image = image.convert("RGB")
        image = _shortened(image)
        scale = self.short_side / min(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        if size != image.size:
            image = image.resize(size, RESAMPLING[self.interpolation])
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def content_hash(picture: Undecoded) -> bytes:
    """sha256 of a file's bytes, or of shape and pixels where there is no file."""
    if isinstance(picture, Path):
        return hashlib.sha256(picture.read_bytes()).digest()
    array = np.ascontiguousarray(picture)
    form = f"{array.shape}"
    if isinstance(picture, Image.Image) and picture.mode not in ("L", "RGB"):
        form += f"{picture.mode} {array.dtype} {picture.getpalette()}"
    return hashlib.sha256(form.encode() + array.tobytes()).digest()


def _shortened(image: Image.Image) -> Image.Image:
    """The middle of a strip: a 2 x 3000 picture would else grow to gigabytes when its short side is resized."""
    longest = LONGEST * min(image.size)
    left, top = (max(0, side - longest) // 2 for side in image.size)
    if not left and not top:
        return image
    return image.crop((left, top, left + min(image.width, longest), top + min(image.height, longest)))


def _open(picture: Undecoded | io.BytesIO, short_side: int) -> Image.Image:
    if isinstance(picture, Image.Image):
        return picture.copy()  # as it is turned in place
    if isinstance(picture, np.ndarray):
        return Image.fromarray(picture)
    image = Image.open(picture)
    # A JPEG can be decoded at a half, a quarter or an eighth; twice the wanted size keeps the resize clean.
    image.draft("RGB", (2 * short_side, 2 * short_side))
    return image


@dataclass(frozen=True)
class Decoded:
    """The outcome of one pass over a collection."""

    kept: NDArray[np.int64]  # positions in the collection of those that could be read
    pictures: list[Picture] | None  # None when they would not fit into memory
    contents: list[bytes]  # sha256 of each that could be read
    skipped: list[str]


def decode_all(
    collection: Collection, decoder: Decoder, keep: bool, on_error: str, what: str, workers: int | None = None
) -> Decoded:
    """Decode every picture once, in threads: to check it, to hash it, and to keep it if asked.

    Raises DataError at the first unreadable picture, unless ``on_error`` is "skip".
    """

    def one(index: int) -> tuple[Picture | None, bytes, str | None]:
        try:
            picture, content = decoder.with_digest(collection.pictures[index])
        except UNREADABLE as error:
            return None, b"", _reason(error)
        return (picture if keep else None), content, None

    pictures: list[Picture] = []
    positions, skipped, contents = [], [], []
    for index, (picture, content, reason) in enumerate(decode_each(one, len(collection), f"reading {what}", workers)):
        name = collection.ids[index]
        if reason is not None:
            if on_error != "skip":
                raise DataError(
                    f"The picture '{name}' cannot be read ({reason}); replace it, or leave such pictures out"
                    " with dataset.on_error=skip."
                )
            skipped.append(name)
            continue
        positions.append(index)
        contents.append(content)
        if picture is not None:
            pictures.append(picture)
    return Decoded(np.array(positions, dtype=np.int64), pictures if keep else None, contents, skipped)


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
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "not a picture that can be identified" if isinstance(error, UnidentifiedImageError) else text
