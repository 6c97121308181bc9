"""The label images of a split as targets: read on demand, resized like their images."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from headstart.errors import DataError
from headstart.inputs.decoding import Decoder, read_whole
from headstart.inputs.deep import UnreadableError
from headstart.inputs.label_images import fitted


class PixelReader(Protocol):
    """Reads a file with a value for each pixel."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the type of targets."""

    @property
    def outside(self) -> Any:
        """Return the value of pixels outside the image."""

    def read(self, content: bytes, turn: int = 1) -> NDArray[Any]:
        """Return the values in the bytes of a file, (H, W), upright. Raises UnreadableError."""


class LabelTargets:
    """Targets (N, S, S) of a split that are read from files when they are asked for.

    They move with their images: ``of_image`` returns one in the shape of the decoded image, to which views are applied.
    With ``keep``, files are read once. ``counts`` (N, classes) and ``pixels`` (N,) are those of the files.
    """

    def __init__(
        self,
        ids: Sequence[str],
        paths: Sequence[Path],
        turns: Sequence[int],
        digests: Sequence[str],
        reader: PixelReader,
        decoder: Decoder,
        size: int,
        keep: bool = False,
        counts: NDArray[np.int64] | None = None,
        pixels: NDArray[np.int64] | None = None,
    ) -> None:
        self.ids, self.paths, self.turns, self.digests = ids, paths, turns, digests
        self.reader, self.decoder, self.size = reader, decoder, size
        self.counts, self.pixels = counts, pixels
        self.kept: dict[int, NDArray[Any]] | None = {} if keep else None

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return (N, S, S)."""
        return len(self), self.size, self.size

    def __getitem__(self, key: Any) -> Any:
        """Return targets (n, S, S) for positions (n,), as the images are cropped for evaluation; a part for a slice."""
        if isinstance(key, slice):
            parts = (self.ids[key], self.paths[key], self.turns[key], self.digests[key])
            return LabelTargets(*parts, self.reader, self.decoder, self.size)
        whole = [_cropped(fitted(self._read(int(at)), self.decoder, self.reader.outside), self.size) for at in key]
        return np.stack(whole).astype(self.reader.dtype)

    def of_image(self, index: int, shape: tuple[int, int], decoder: Decoder) -> NDArray[Any]:
        """Return a target in the height and width of its image as ``decoder`` gives it."""
        return fitted(self._read(index), decoder, self.reader.outside, shape)

    def tolist(self) -> list[str]:
        """Return what identifies each target: the hash of its file."""
        return list(self.digests)

    def _read(self, index: int) -> NDArray[Any]:
        """Return the values of a file, upright. Raises DataError if it was changed."""
        if self.kept is not None and index in self.kept:
            return self.kept[index]
        try:
            content = read_whole(self.paths[index])
        except UnreadableError:
            content = b""
        if hashlib.sha256(content).hexdigest() != self.digests[index]:
            raise DataError(f"The mask of '{self.ids[index]}' was changed or removed while the run was using it.")
        values = self.reader.read(content, self.turns[index])
        if self.kept is not None:
            self.kept[index] = values
        return values


def _cropped(values: NDArray[Any], size: int) -> NDArray[Any]:
    """Return the central size x size values of (H, W)."""
    top, left = (values.shape[0] - size) // 2, (values.shape[1] - size) // 2
    return values[top : top + size, left : left + size]
