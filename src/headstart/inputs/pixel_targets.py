"""Targets with a value for each pixel: read on demand, resized like their images."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.errors import DataError
from headstart.inputs.decoding import Decoder, read_whole
from headstart.inputs.deep import UnreadableError
from headstart.inputs.pixel_files import PixelFile, PixelReader, fitted

KEPT_PIXELS = 2**29  # of a split, of 2 or 4 bytes each


class PixelTargets:
    """Targets (N, S, S) of a split that are read from files when they are asked for.

    They move with their images: ``of_image`` returns one in the shape of the decoded image, to which views are applied.
    ``files`` are the facts of the files, which are read once if they have at most ``KEPT_PIXELS``.
    """

    def __init__(
        self,
        ids: Sequence[str],
        paths: Sequence[Path],
        turns: Sequence[int],
        files: Sequence[PixelFile],
        reader: PixelReader,
        decoder: Decoder,
        size: int,
    ) -> None:
        self.ids, self.paths, self.turns, self.files = ids, paths, turns, files
        self.reader, self.decoder, self.size = reader, decoder, size
        keep = sum(file.width * file.height for file in files) <= KEPT_PIXELS
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
            parts = (self.ids[key], self.paths[key], self.turns[key], self.files[key])
            return PixelTargets(*parts, self.reader, self.decoder, self.size)
        whole = [_cropped(fitted(self._read(int(at)), self.decoder, self.reader.outside), self.size) for at in key]
        return np.stack(whole).astype(self.reader.dtype)

    def of_image(self, index: int, shape: tuple[int, int], decoder: Decoder) -> NDArray[Any]:
        """Return a target in the height and width of its image as ``decoder`` gives it."""
        return fitted(self._read(index), decoder, self.reader.outside, shape)

    def tolist(self) -> list[str]:
        """Return what identifies each target: the hash of its file."""
        return [file.digest for file in self.files]

    def _read(self, index: int) -> NDArray[Any]:
        """Return the values of a file, upright. Raises DataError if it was changed."""
        if self.kept is not None and index in self.kept:
            return self.kept[index]
        try:
            content = read_whole(self.paths[index])
        except UnreadableError:
            content = b""
        if hashlib.sha256(content).hexdigest() != self.files[index].digest:
            raise DataError(f"The mask of '{self.ids[index]}' was changed or removed while the run was using it.")
        values = self.reader.read(content, self.turns[index])
        if self.kept is not None:
            self.kept[index] = values
        return values


def _cropped(values: NDArray[Any], size: int) -> NDArray[Any]:
    """Return the central size x size values of (H, W)."""
    top, left = (values.shape[0] - size) // 2, (values.shape[1] - size) // 2
    return values[top : top + size, left : left + size]
