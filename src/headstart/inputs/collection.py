"""Define a collection: undecoded images of a source with their names and targets."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Undecoded = Path | Image.Image | NDArray[np.uint8]
Targets = NDArray[np.int64]  # (N,) for classes; other tasks have other types, (N, ...)


@dataclass(frozen=True)
class Collection:
    """Labelled images that are not yet decoded."""

    ids: list[str]  # unique in the collection; for files, the path below the root
    targets: Targets  # (N,) indices of class names; for other tasks (N, ...)
    images: Sequence[Undecoded]  # (N,) may open its entries lazily
    groups: list[str] | None = None  # (N,) the group of each image, such as a patient; a group stays in one split

    @property
    def plain_targets(self) -> list[Any]:
        """Return the targets as numbers, or lists of numbers, for hashes."""
        return plain(self.targets)

    def take(self, indices: NDArray[np.int64]) -> "Collection":
        """Return the entries at these positions, in this order."""
        ids, groups = ([of[i] for i in indices] if of is not None else None for of in (self.ids, self.groups))
        return Collection(ids or [], self.targets[indices], ChosenImages(self.images, indices), groups)

    def __len__(self) -> int:
        return len(self.ids)


def plain(targets: NDArray[Any]) -> list[Any]:
    """Return targets (N, ...) as numbers, or lists of numbers where an image has several."""
    numbers: list[Any] = (targets[:, 0] if targets.shape[1:] == (1,) else targets).tolist()
    return numbers


def joined(parts: Sequence[Collection]) -> Collection:
    """Return collections with the same classes as one, in order."""
    if len(parts) == 1:
        return parts[0]
    ids = [name for part in parts for name in part.ids]
    grouped = all(part.groups is not None for part in parts)
    return Collection(
        ids,
        np.concatenate([part.targets for part in parts]),
        Concatenated([part.images for part in parts]),
        [group for part in parts for group in part.groups or []] if grouped else None,
    )


class Concatenated(Sequence[Undecoded]):
    """Several sequences as one, opened lazily."""

    def __init__(self, parts: Sequence[Sequence[Undecoded]]) -> None:
        self.parts = parts
        self.ends = np.cumsum([len(part) for part in parts])

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        number = int(np.searchsorted(self.ends, index, side="right"))
        return self.parts[number][int(index) - (int(self.ends[number - 1]) if number else 0)]

    def __iter__(self) -> Iterator[Undecoded]:
        return chain.from_iterable(self.parts)

    def __len__(self) -> int:
        return int(self.ends[-1])


class ChosenImages(Sequence[Undecoded]):
    """Some entries of another sequence, opened lazily."""

    def __init__(self, images: Sequence[Undecoded], indices: NDArray[np.int64]) -> None:
        self.images, self.indices = images, indices

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self.images[int(self.indices[index])]

    def __len__(self) -> int:
        return len(self.indices)
