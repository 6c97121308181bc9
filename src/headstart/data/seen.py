"""Collections that were read whole before: hashing their files again is enough, decoding them is not needed."""

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

import PIL

from headstart.data.collection import Collection
from headstart.data.decoding import RULES, Decoder
from headstart.data.deep import PixelRange
from headstart.data.looks import Notes
from headstart.files import write_atomically


class Seen:
    """A folder with one small file a collection and decoder: the digest of the contents that could all be decoded,
    and what was said of them.

    Nothing breaks without it, so a folder that cannot be written is no error.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def known(self, collection: Collection, decoder: Decoder) -> tuple[str, Notes] | None:
        """Return what the contents came to when they were decoded, and what was said of them; None if they were not."""
        try:
            digest, notes = self._path(collection, decoder).read_text().splitlines()
            return digest, Notes(**json.loads(notes))
        except (OSError, ValueError, TypeError):
            return None

    def note(self, collection: Collection, decoder: Decoder, digest: str, notes: Notes) -> None:
        """Remember that all pictures of this digest could be decoded."""
        self._write(self._path(collection, decoder), f"{digest}\n{json.dumps(notes.to_json())}\n")

    def pixel_range(self, paths: Sequence[Path]) -> PixelRange | None:
        """Return the range that was found of these files, where sizes and times say that none has changed since."""
        try:
            found = json.loads(self._range_path(paths).read_text())
            return PixelRange(*found["range"]) if found["files"] == stamp_of(paths) else None
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def note_range(self, paths: Sequence[Path], pixel_range: PixelRange, stamp: str) -> None:
        """Remember the range of files whose ``stamp`` was taken before they were read."""
        self._write(self._range_path(paths), json.dumps({"files": stamp, "range": astuple(pixel_range)}) + "\n")

    def _write(self, path: Path, text: str) -> None:
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, text)

    def _range_path(self, paths: Sequence[Path]) -> Path:
        digest = hashlib.sha256(f"range {PIL.__version__} {RULES}".encode())
        for path in paths:
            digest.update(b"\0" + os.fsencode(path.absolute()))
        return self.folder / digest.hexdigest()[:32]

    def _path(self, collection: Collection, decoder: Decoder) -> Path:
        digest = hashlib.sha256(f"{decoder} {PIL.__version__} {RULES}".encode())
        for name, target in zip(collection.ids, collection.targets, strict=True):
            digest.update(f"\0{name}\0{target}".encode())
        return self.folder / digest.hexdigest()[:32]


def stamp_of(paths: Sequence[Path]) -> str:
    """Return a hash of each file's size, place on the disk and times; no program can set back the last of them."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            status = path.stat()
            digest.update(f"{status.st_size} {status.st_ino} {status.st_mtime_ns} {status.st_ctime_ns}\n".encode())
        except (OSError, ValueError):
            digest.update(b"none\n")
    return digest.hexdigest()
