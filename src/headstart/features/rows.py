"""Features by position, in memory or on disk."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headstart.features.store import StoredPart


class Rows(Protocol):
    """Rows of one shape that can be asked for by position."""

    def __len__(self) -> int: ...

    def take(self, positions: NDArray[np.int64]) -> Tensor:
        """(len(positions), ...) in that order; images-like rows (C, H, W) are laid out channels-last."""


class InMemory:
    """Rows that are one tensor, on whatever device."""

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def take(self, positions: NDArray[np.int64]) -> Tensor:
        """Picked by index from the tensor."""
        return as_network_takes(self.values[torch.from_numpy(positions).to(self.values.device)])


class OnDisk:
    """Rows that stay in the parts that hold them and are read when asked for."""

    def __init__(self, parts: Sequence[StoredPart], part_of: NDArray[np.int64], row_of: NDArray[np.int64]) -> None:
        self.parts, self.part_of, self.row_of = parts, part_of, row_of

    def __len__(self) -> int:
        return len(self.row_of)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return len(self) * self.parts[0].row_bytes

    def read(self, positions: NDArray[np.int64]) -> NDArray[Any]:
        """(len(positions), ...) as they are stored."""
        if (self.part_of[positions] < 0).any():
            raise IndexError("A row was asked for that is not there.")
        first = self.parts[0]
        values = np.empty((len(positions), *first.shape), first.dtype)
        flat = values.reshape(len(positions), -1).view(np.uint8)
        for place, position in enumerate(positions):
            self.parts[self.part_of[position]].read(int(self.row_of[position]), memoryview(flat[place]))
        return values

    def take(self, positions: NDArray[np.int64]) -> Tensor:
        """Read from disk."""
        return as_network_takes(torch.from_numpy(self.read(positions)))

    def in_memory(self) -> Tensor:
        """All rows as one tensor; where they are one part in its order, its memory map, which runs can share."""
        first = self.parts[0]
        whole = len(self.parts) == 1 and len(self) == len(first)
        if whole and np.array_equal(self.row_of, np.arange(len(first))):
            return torch.from_numpy(first.mapped())
        values = np.empty((len(self), *first.shape), first.dtype)
        for number, part in enumerate(self.parts):
            here = np.flatnonzero(self.part_of == number)
            values[here] = part.mapped()[self.row_of[here]]
        return torch.from_numpy(values)


def as_network_takes(stored: Tensor) -> Tensor:
    """Rows are stored with channels last; a network wants (N, C, H, W), and takes that layout as it is."""
    return stored.permute(0, 3, 1, 2) if stored.ndim == 4 else stored


def as_stored(values: Tensor) -> Tensor:
    """The other way round."""
    return values.permute(0, 2, 3, 1) if values.ndim == 4 else values
