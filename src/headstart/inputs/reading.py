"""Decode and hash a collection in one pass, and find the range of values with more than 8 bits."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headstart.errors import CrashError, DataError
from headstart.inputs.collection import Collection
from headstart.inputs.decoding import (
    DecodedImage,
    Decoder,
    PixelArray,
    bits_needed,
    decode_each,
    is_of_machine,
    read_whole,
)
from headstart.inputs.deep import NoRangeError, PixelRange, UnreadableError, common_range, may_be_deep
from headstart.inputs.looks import Notes, alike, look
from headstart.inputs.seen import SeenImages, stamp_of

NAMED = 3  # unreadable images named in a message
NOTHING = np.empty((0, 0, 3), np.uint8)


@dataclass(frozen=True)
class DecodedCollection:
    """The outcome of one pass over a collection."""

    kept: NDArray[np.int64]  # positions of the readable images in the collection
    images: list[PixelArray] | None  # None if they are not kept
    contents: list[bytes]  # sha256 of each readable image
    unreadable: dict[str, str]  # name of each unreadable image -> reason
    notes: Notes  # on the readable images


def decode_all(
    collection: Collection, decoder: Decoder, keep: bool, what: str, workers: int | None = None
) -> DecodedCollection:
    """Decode every image once, in threads, to check, hash and inspect it, and to keep it on request.

    Raises NoRangeError at the first image with more than 8 bits if the decoder's ``pixel_range`` is None, and
    CrashError if memory does not suffice for an image.
    """

    def one(index: int) -> tuple[DecodedImage, str, bytes] | str:
        try:
            read = decoder.read(collection.images[index])
        except NoRangeError as error:
            if decoder.pixel_range is None:
                raise
            return str(error)
        except UnreadableError as error:
            return str(error)
        except MemoryError as error:
            raise CrashError(
                f"The memory is used up at the image '{collection.ids[index]}'; end other programs, or make the image"
                " smaller."
            ) from error
        return (read if keep else replace(read, image=NOTHING)), *look(decoder.signature.for_display(read.image))

    images: list[PixelArray] = []
    positions, contents, few, notes = [], [], [], Notes()
    unreadable = {}
    for index, found in enumerate(decode_each(one, len(collection), f"reading {what}", workers)):
        name = collection.ids[index]
        if isinstance(found, str):
            unreadable[name] = found
            continue
        read, kind, values = found
        positions.append(index)
        contents.append(read.content)
        images.append(read.image)
        few.append(values)
        _note(notes, name, read, kind)
    for place in alike(few):
        notes.mark("alike", collection.ids[positions[place]])
    kept = np.array(positions, dtype=np.int64)
    return DecodedCollection(kept, images if keep else None, contents, unreadable, notes)


def _note(notes: Notes, name: str, read: DecodedImage, kind: str) -> None:
    notes.count += 1
    notes.deep += read.deep
    for phrase in read.unused:
        notes.unused[phrase] = notes.unused.get(phrase, 0) + 1
    if kind:
        notes.mark(kind, name)
    if read.clipped:
        notes.mark("clipped", name)


def paths_of(found: Mapping[str, Collection]) -> list[Path]:
    """Return the files of all splits of a source, without opening them."""
    paths: list[Path] = []
    for collection in found.values():
        with contextlib.suppress(UnreadableError):
            if len(collection) and isinstance(collection.images[0], Path):
                paths += [path for path in collection.images if isinstance(path, Path)]
    return paths


def find_and_note_range(paths: Sequence[Path], seen: SeenImages | None) -> PixelRange:
    """Return the range of a data set's files, and store it.

    All files of the source count, so that an image has the same pixels in every subset, fold and split.
    """
    stamp = stamp_of(paths)  # before the files are read
    found = find_range(paths)
    if seen is not None:
        seen.note_range(paths, found, stamp)
    return found


def range_text(found: PixelRange) -> str:
    """Return one sentence that names the value of white in images with more than 8 bits."""
    parts = []
    if found.integers is not None:
        parts.append(f"values up to {found.integers:,} are taken as {found.integers.bit_length()} bits")
    if found.floats is not None:
        parts.append(f"fractional values as 0 to {found.floats:,g}")
    return f"images of more than 8 bits: {', '.join(parts)}; dataset.bits overrides this"


def find_range(paths: Sequence[Path]) -> PixelRange:
    """Return the range of all images with more than 8 bits among these files; unreadable files are ignored."""

    def one(index: int) -> tuple[bool, int]:
        try:
            with paths[index].open("rb") as file:
                if not may_be_deep(file.read(32)):
                    return False, 0
            return bits_needed(read_whole(paths[index]))
        except (OSError, ValueError, UnreadableError) as error:
            if is_of_machine(error):
                raise
            return False, 0

    return common_range(decode_each(one, len(paths), "finding the range of values"))


def refuse(unreadable: Mapping[str, str], total: int) -> None:
    """Raise DataError if any image is unreadable; the message names the first ones, the reasons and the ``total``."""
    if not unreadable:
        return
    named = [f"'{name}' ({reason})" for name, reason in list(unreadable.items())[:NAMED]]
    if len(unreadable) == 1:
        ((name, reason),) = unreadable.items()
        what, them = f"The image '{name}' cannot be read ({reason})", "it"
    else:
        more = f" and {len(unreadable) - len(named)} more" if len(unreadable) > len(named) else ""
        what, them = f"{len(unreadable)} of {total} images cannot be read: {', '.join(named)}{more}", "them"
    raise DataError(f"{what}; replace {them}, or skip such images with dataset.on_error=skip.")
