"""Read targets with a value for each pixel on demand, and resize them like their images."""

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

KEPT_PIXELS = 2**29  # of all targets of a split; 2 or 4 bytes each


class PixelTargets:
    """Targets (N, S, S) of a split, read from files on demand.

    Views transform a target with its image, so ``of_image`` returns it in the shape of the decoded image. ``files`` are
    facts about the files, ``turns`` their EXIF orientations. If all files together have at most ``KEPT_PIXELS``, values
    stay in memory once they are read.
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
        """Return the targets (n, S, S) of positions (n,), centre-cropped; for a slice, the ``PixelTargets`` of it."""
        if isinstance(key, slice):
            parts = (self.ids[key], self.paths[key], self.turns[key], self.files[key])
            return PixelTargets(*parts, self.reader, self.decoder, self.size)
        whole = [_cropped(fitted(self._read(int(at)), self.decoder, self.reader.outside), self.size) for at in key]
        return np.stack(whole).astype(self.reader.dtype)

    def of_image(self, index: int, shape: tuple[int, int], decoder: Decoder) -> NDArray[Any]:
        """Return a target (H, W) in the ``shape`` of its image after ``decoder``."""
        return fitted(self._read(index), decoder, self.reader.outside, shape)

    def tolist(self) -> list[str]:
        """Return the hash of each target's file, which identifies the target."""
        return [file.digest for file in self.files]

    def _read(self, index: int) -> NDArray[Any]:
        """Return the values of a file (H, W), upright. Raises DataError if the file has changed."""
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
