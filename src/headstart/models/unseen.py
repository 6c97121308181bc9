"""The images that a model predicts: new files, some of which may be unreadable."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from headstart.inputs.collection import Undecoded
from headstart.inputs.decoding import Decoder, PixelArray, UnreadableError
from headstart.inputs.images import Images


class UnseenImages(Images):
    """Files or arrays that are decoded on demand, without targets.

    A black image stands in for an unreadable one, so that the other images keep their places in a batch;
    ``unreadable`` has the reasons by position.
    """

    def __init__(
        self,
        ids: Sequence[str],
        images: Sequence[Undecoded],
        decoder: Decoder,
        unreadable: dict[int, str] | None = None,
    ) -> None:
        super().__init__(ids, images, decoder, [], keep=False)
        self.unreadable = {} if unreadable is None else unreadable

    def __getitem__(self, index: int) -> PixelArray:
        """Return (H, W, C) as stored, see the decoder's signature."""
        try:
            return self.decoder.read(self.undecoded[index]).image
        except UnreadableError as error:
            self.unreadable[index] = str(error)
        side, channels = self.decoder.short_side, self.decoder.signature.channels
        dtype = self.decoder.signature.stored(1, 1).numpy().dtype
        return np.zeros((side, side, channels), dtype=dtype)

    def finer(self, short_side: int) -> "UnseenImages":
        """Return the same images with a larger short side; smaller images keep their size."""
        side = max(short_side, self.decoder.short_side)
        decoder = replace(self.decoder, short_side=side, resize="crop", enlarge=False)
        return UnseenImages(self.ids, self.undecoded, decoder, self.unreadable)


def from_files(paths: Sequence[Path], decoder: Decoder) -> UnseenImages:
    """Return files, named by their paths."""
    return UnseenImages([str(path) for path in paths], list(paths), decoder)
