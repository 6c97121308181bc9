"""The images of a split, decoded all at once and kept, or one at a time on demand."""

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from headstart.errors import DataError
from headstart.inputs.collection import Undecoded
from headstart.inputs.decoding import Decoder, PixelArray, UnreadableError, decode_each

SAMPLED = 32  # images used to estimate the size of all


class Images:
    """Decoded images by position; each file is compared with its content when it was first read.

    ``spare_bytes`` is the memory that a second set of decoded images may take.
    """

    def __init__(
        self,
        ids: Sequence[str],
        undecoded: Sequence[Undecoded],
        decoder: Decoder,
        contents: Sequence[bytes],
        keep: bool,
        decoded: list[PixelArray] | None = None,
        spare_bytes: int = 0,
    ) -> None:
        self.ids, self.undecoded, self.decoder = ids, undecoded, decoder
        self.contents = contents  # sha256 of each image's file, or of its pixels without a file
        self.keep, self.decoded, self.spare_bytes = keep, decoded, spare_bytes
        self._finer: dict[int, Images] = {}  # by the short side
        self._is_measured = True

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> PixelArray:
        """Return an image (H, W, C), as the decoder's signature says. Raises DataError if its file has changed."""
        if self.decoded is not None:
            return self.decoded[index]
        with contextlib.suppress(UnreadableError):
            read = self.decoder.read(self.undecoded[index])
            if read.content == self.contents[index]:
                return read.image
        raise DataError(f"The image '{self.ids[index]}' was changed or removed while the run was using it.")

    def load(self, what: str) -> None:
        """Decode all images in threads and keep them, if they may be kept and are not kept yet."""
        if not self._is_measured:
            self.keep, self._is_measured = self.keep and self._nbytes() <= self.spare_bytes, True
        if self.keep and self.decoded is None:
            self.decoded = list(decode_each(self.__getitem__, len(self), f"decoding {what}"))

    def finer(self, short_side: int) -> "Images":
        """Return the same images with a larger short side; smaller images keep their size, without padding.

        They are kept in memory if they take at most ``spare_bytes``.
        """
        if short_side not in self._finer:
            side = max(short_side, self.decoder.short_side)
            decoder = replace(self.decoder, short_side=side, resize="crop", enlarge=False)
            finer = Images(self.ids, self.undecoded, decoder, self.contents, self.keep, spare_bytes=self.spare_bytes)
            finer._is_measured = False
            self._finer[short_side] = finer
        return self._finer[short_side]

    def _nbytes(self) -> float:
        """Return the bytes of all images, estimated from a sample."""
        some = np.linspace(0, len(self) - 1, min(SAMPLED, len(self))).astype(int).tolist()
        return len(self) * float(np.mean([self[index].nbytes for index in some]))

    @property
    def costly(self) -> bool:
        """Return whether each access to an image decodes it."""
        return self.decoded is None


def content_digest(ids: Sequence[str], targets: Sequence[int], contents: Sequence[bytes]) -> str:
    """Return one hash of names, targets and contents, in hex."""
    entries = zip(ids, targets, contents, strict=True)
    return hashlib.sha256(
        b"".join(f"{name}\0{target}\0".encode() + content for name, target, content in entries)
    ).hexdigest()
