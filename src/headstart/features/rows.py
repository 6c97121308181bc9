"""Hold features by position, in memory or on disk."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headstart.features.store import StoredPart


class Rows(Protocol):
    """Rows of one shape, accessed by position."""

    def __len__(self) -> int: ...

    def take(self, positions: NDArray[np.int64]) -> Tensor:
        """Return (len(positions), ...) in that order; maps (C, H, W) are laid out channels-last."""


class InMemory:
    """Rows in one tensor, on any device."""

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def take(self, positions: NDArray[np.int64]) -> Tensor:
        """Return rows of the tensor by index."""
        places = torch.from_numpy(positions).to(self.values.device)
        return as_network_takes(self.values.index_select(0, places))  # 4 times as fast as an index in brackets


class OnDisk:
    """Rows that stay in parts on disk and are read on demand."""

    def __init__(self, parts: Sequence[StoredPart], part_of: NDArray[np.int64], row_of: NDArray[np.int64]) -> None:
        self.parts, self.part_of, self.row_of = parts, part_of, row_of

    def __len__(self) -> int:
        return len(self.row_of)

    @property
    def nbytes(self) -> int:
        """Return the bytes of all rows."""
        return len(self) * self.parts[0].row_bytes

    def read(self, positions: NDArray[np.int64]) -> NDArray[Any]:
        """Return (len(positions), ...) in stored form."""
        if (self.part_of[positions] < 0).any():
            raise IndexError("A requested row is not on disk.")
        first = self.parts[0]
        values = np.empty((len(positions), *first.shape), first.dtype)
        flat = values.reshape(len(positions), -1).view(np.uint8)
        for place, position in enumerate(positions):
            self.parts[self.part_of[position]].read(int(self.row_of[position]), memoryview(flat[place]))
        return values

    def take(self, positions: NDArray[np.int64]) -> Tensor:
        """Read rows from disk."""
        return as_network_takes(torch.from_numpy(self.read(positions)))

    def in_memory(self) -> Tensor:
        """Return all rows as one tensor; for a single part in this order, its memory map, which runs can share."""
        first = self.parts[0]
        whole = len(self.parts) == 1 and len(self) == len(first)
        if whole and np.array_equal(self.row_of, np.arange(len(first))):
            return torch.from_numpy(first.mapped())
        if len(self.parts) == 1:
            return torch.from_numpy(np.asarray(first.mapped())[self.row_of])
        values = np.empty((len(self), *first.shape), first.dtype)
        for number, part in enumerate(self.parts):
            here = np.flatnonzero(self.part_of == number)
            values[here] = part.mapped()[self.row_of[here]]
        return torch.from_numpy(values)


def as_network_takes(stored: Tensor) -> Tensor:
    """Return stored rows, which are channels-last, in the network's shape (N, C, H, W) without copying."""
    return stored.permute(0, 3, 1, 2) if stored.ndim == 4 else stored


def as_stored(values: Tensor) -> Tensor:
    """Return values (N, C, H, W) in stored form, channels last."""
    return values.permute(0, 2, 3, 1) if values.ndim == 4 else values
