"""The pictures of a split: decoded all at once and kept, or one at a time when asked."""

import contextlib
import hashlib
from collections.abc import Sequence

from headstart.data.collection import Undecoded
from headstart.data.decoding import Decoder, Picture, UnreadableError, decode_each
from headstart.errors import DataError


class Pictures:
    """Decoded pictures by position; what a file held when it was first read is held against what it holds later."""

    def __init__(
        self,
        ids: Sequence[str],
        undecoded: Sequence[Undecoded],
        decoder: Decoder,
        contents: Sequence[bytes],
        keep: bool,
        decoded: list[Picture] | None = None,
    ) -> None:
        self.ids, self.undecoded, self.decoder = ids, undecoded, decoder
        self.contents = contents  # sha256 of each picture's file, or of its pixels where there is no file
        self.keep, self.decoded = keep, decoded

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Picture:
        """(H, W, 3) uint8."""
        if self.decoded is not None:
            return self.decoded[index]
        with contextlib.suppress(UnreadableError):
            picture, content = self.decoder.with_digest(self.undecoded[index])
            if content == self.contents[index]:
                return picture
        raise DataError(f"The picture '{self.ids[index]}' was changed or removed while the run was using it.")

    def load(self, what: str) -> None:
        """Decode all of them in threads, if they may be kept and are not yet."""
        if self.keep and self.decoded is None:
            self.decoded = list(decode_each(self.__getitem__, len(self), f"decoding {what}"))

    @property
    def costly(self) -> bool:
        """Whether asking for a picture means decoding it."""
        return self.decoded is None


def content_digest(ids: Sequence[str], targets: Sequence[int], contents: Sequence[bytes]) -> str:
    """One hash for names, targets and contents, in hex."""
    digest = hashlib.sha256()
    for name, target, content in zip(ids, targets, contents, strict=True):
        digest.update(f"{name}\0{target}\0".encode() + content)
    return digest.hexdigest()
