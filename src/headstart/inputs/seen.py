"""Remember collections that could be decoded, so that later runs only have to hash their files."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

import PIL

from headstart.inputs.collection import Collection
from headstart.inputs.decoding import RULES, Decoder
from headstart.inputs.deep import PixelRange
from headstart.inputs.facts import Facts, file_state
from headstart.inputs.looks import Notes


class SeenImages:
    """A folder with one small file per collection and decoder, for collections whose images could all be decoded.

    Each file holds the digest of the contents, and notes. This is only a cache, so a folder that cannot be written
    raises no error.
    """

    def __init__(self, folder: Path) -> None:
        self.facts = Facts(folder)

    def known(self, collection: Collection, decoder: Decoder) -> tuple[str, Notes] | None:
        """Return the digest and the notes stored when the collection was decoded; None if nothing is stored."""
        try:
            digest, notes = (self.facts.get(self._key(collection, decoder)) or "").splitlines()
            return digest, Notes(**json.loads(notes))
        except (ValueError, TypeError):
            return None

    def note(self, collection: Collection, decoder: Decoder, digest: str, notes: Notes) -> None:
        """Store that all images with this digest could be decoded."""
        self.facts.put(self._key(collection, decoder), f"{digest}\n{json.dumps(notes.to_json())}")

    def pixel_range(self, paths: Sequence[Path]) -> PixelRange | None:
        """Return the stored range of these files; None if it is not stored or a file's size or time has changed."""
        try:
            found = json.loads(self.facts.get(self._range_key(paths)) or "")
            return PixelRange(*found["range"]) if found["files"] == stamp_of(paths) else None
        except (ValueError, TypeError, KeyError):
            return None

    def note_range(self, paths: Sequence[Path], pixel_range: PixelRange, stamp: str) -> None:
        """Store the range of files. ``stamp`` is their ``stamp_of``, computed before they were read."""
        self.facts.put(self._range_key(paths), json.dumps({"files": stamp, "range": astuple(pixel_range)}))

    def _range_key(self, paths: Sequence[Path]) -> str:
        names = (f"\0{path.absolute()}" for path in paths)
        return hashlib.sha256(os.fsencode("".join([f"range {PIL.__version__} {RULES}", *names]))).hexdigest()

    def _key(self, collection: Collection, decoder: Decoder) -> str:
        entries = zip(collection.ids, collection.plain_targets, strict=True)
        named = (f"\0{name}\0{target}" for name, target in entries)
        return hashlib.sha256("".join([f"{decoder} {PIL.__version__} {RULES}", *named]).encode()).hexdigest()


def stamp_of(paths: Sequence[Path]) -> str:
    """Return one hash of the sizes and times of all files, in hex."""
    return hashlib.sha256("\n".join(map(file_state, paths)).encode()).hexdigest()
