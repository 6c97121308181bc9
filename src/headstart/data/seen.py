"""Collections that were read whole before: hashing their files again is enough, decoding them is not needed."""

import contextlib
import hashlib
from pathlib import Path

import PIL

from headstart.data.collection import Collection
from headstart.data.decoding import RULES, Decoder
from headstart.files import write_atomically


class Seen:
    """A folder with one small file a collection and decoder: the digest of the contents that could all be decoded.

    Nothing breaks without it, so a folder that cannot be written is no error.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def digest(self, collection: Collection, decoder: Decoder) -> str | None:
        """What the contents came to when they were last decoded; None where that never happened."""
        try:
            return self._path(collection, decoder).read_text().strip() or None
        except OSError:
            return None

    def note(self, collection: Collection, decoder: Decoder, digest: str) -> None:
        """Remember that all pictures of this digest could be decoded."""
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path(collection, decoder), digest + "\n")

    def _path(self, collection: Collection, decoder: Decoder) -> Path:
        digest = hashlib.sha256(f"{decoder} {PIL.__version__} {RULES}".encode())
        for name, target in zip(collection.ids, collection.targets, strict=True):
            digest.update(f"\0{name}\0{target}".encode())
        return self.folder / digest.hexdigest()[:32]
