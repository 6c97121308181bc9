"""Collections that were read whole before: hashing their files again is enough, decoding them is not needed."""

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
    """A folder with one small file a collection and decoder: the digest of the contents that could all be decoded,
    and what was said of them.

    Nothing breaks without it, so a folder that cannot be written is no error.
    """

    def __init__(self, folder: Path) -> None:
        self.facts = Facts(folder)

    def known(self, collection: Collection, decoder: Decoder) -> tuple[str, Notes] | None:
        """Return what the contents came to when they were decoded, and what was said of them; None if they were not."""
        try:
            digest, notes = (self.facts.get(self._key(collection, decoder)) or "").splitlines()
            return digest, Notes(**json.loads(notes))
        except (ValueError, TypeError):
            return None

    def note(self, collection: Collection, decoder: Decoder, digest: str, notes: Notes) -> None:
        """Remember that all images of this digest could be decoded."""
        self.facts.put(self._key(collection, decoder), f"{digest}\n{json.dumps(notes.to_json())}")

    def pixel_range(self, paths: Sequence[Path]) -> PixelRange | None:
        """Return the range that was found of these files, where sizes and times say that none has changed since."""
        try:
            found = json.loads(self.facts.get(self._range_key(paths)) or "")
            return PixelRange(*found["range"]) if found["files"] == stamp_of(paths) else None
        except (ValueError, TypeError, KeyError):
            return None

    def note_range(self, paths: Sequence[Path], pixel_range: PixelRange, stamp: str) -> None:
        """Remember the range of files whose ``stamp`` was taken before they were read."""
        self.facts.put(self._range_key(paths), json.dumps({"files": stamp, "range": astuple(pixel_range)}))

    def _range_key(self, paths: Sequence[Path]) -> str:
        digest = hashlib.sha256(f"range {PIL.__version__} {RULES}".encode())
        for path in paths:
            digest.update(b"\0" + os.fsencode(path.absolute()))
        return digest.hexdigest()

    def _key(self, collection: Collection, decoder: Decoder) -> str:
        digest = hashlib.sha256(f"{decoder} {PIL.__version__} {RULES}".encode())
        for name, target in zip(collection.ids, collection.targets, strict=True):
            digest.update(f"\0{name}\0{target}".encode())
        return digest.hexdigest()


def stamp_of(paths: Sequence[Path]) -> str:
    """Return a hash of the state of each file."""
    return hashlib.sha256("\n".join(map(file_state, paths)).encode()).hexdigest()
