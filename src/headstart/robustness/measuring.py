"""Test networks on corrupted images; each image is corrupted once for all networks."""

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from headstart.features.compute import ahead
from headstart.progress import ProgressLine
from headstart.robustness.corruptions import content_of, corrupt
from headstart.robustness.severities import NAMES
from headstart.workers import usable_cores

Images = NDArray[np.uint8]
Positions = NDArray[np.int64]


class Network(Protocol):
    """A classifier of images."""

    @property
    def body_key(self) -> str:
        """Return a key that is equal for two networks with the same features."""

    def features(self, views: Images) -> NDArray[np.float32]:
        """Return features (N, D) of images uint8 (V, N, S, S, 3), with V views of each."""

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the predicted classes (N,) of features (N, D)."""


@dataclass
class Source:
    """Test images as they enter a network, in its batches.

    ``load`` returns one view (S, S, 3) of an image, given its position and the view's number. With ``in_turn``, only
    one thread at a time calls it.
    """

    load: Callable[[int, int], Images]
    targets: NDArray[np.int64]
    """The targets of all positions."""
    batches: Sequence[Positions]
    views: int = 1
    in_turn: bool = False

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self.positions = np.concatenate(list(self.batches))
        self._contents = self._read()

    def _read(self) -> dict[int, list[int]]:
        """Return the hash of each view of each image, by its position."""

        def work(batch: Positions) -> list[list[int]]:
            views = self.batch(batch)
            return [[content_of(view[number]) for view in views] for number in range(len(batch))]

        threads = usable_cores()
        found = ahead(work, self.batches, threads, 2 * threads)
        hashes: dict[int, list[int]] = {}
        with ProgressLine("hashing test images", len(self.positions)) as progress:
            for batch, contents in zip(self.batches, found, strict=True):
                hashes |= zip(batch.tolist(), contents, strict=True)
                progress.advance(len(batch))
        return hashes

    def batch(self, positions: Positions) -> Images:
        """Load a batch: (V, N, S, S, 3)."""

        def read() -> Images:
            return np.stack(
                [
                    np.stack([self.load(int(position), view) for position in positions])
                    for view in range(self.views)
                ]
            )  # fmt: skip

        if not self.in_turn:
            return read()
        with self._lock:
            return read()

    def digest(self, positions: Positions) -> str:
        """Return a hash of the images and targets at these positions, in that order."""
        digest = hashlib.sha256()
        for position in positions.tolist():
            digest.update(f"{self.targets[position]} {self._contents[position]}\n".encode())
        return digest.hexdigest()

    @property
    def key(self) -> tuple[str, tuple[int, ...]]:
        """Return a key that is equal for two sources with the same images in the same batches."""
        return self.digest(self.positions), tuple(len(batch) for batch in self.batches)

    def corrupted(self, name: str, severities: Sequence[int]) -> Iterator[tuple[Positions, Images]]:
        """Yield each batch's positions (N,) and images at each severity: uint8 (severities, V, N, S, S, 3)."""

        def work(batch: Positions) -> Images:
            clean = self.batch(batch)
            made = np.empty((len(severities), *clean.shape), dtype=np.uint8)
            for number, position in enumerate(batch):
                for view, content in enumerate(self._contents[int(position)]):
                    for place, severity in enumerate(severities):
                        made[place, view, number] = corrupt(clean[view, number], name, severity, content)
            return made

        threads = usable_cores()
        with _one_thread_each():
            yield from zip(self.batches, ahead(work, self.batches, threads, 2 * threads), strict=True)


def measure(
    source: Source, networks: Sequence[Network], wanted: Sequence[Mapping[str, Sequence[int]]]
) -> Iterator[tuple[str, list[dict[int, NDArray[np.bool_]]]]]:
    """Yield each corruption's name and, for each network, which images it predicts correctly, by severity.

    ``wanted`` gives the corruptions and severities of each network. Each result has shape (positions,), sorted by
    position.
    """
    names = [name for name in NAMES if any(name in own for own in wanted)]
    every = {name: sorted({severity for own in wanted for severity in own.get(name, ())}) for name in names}
    count = len(source.positions) * sum(map(len, every.values()))
    place = {position: number for number, position in enumerate(np.sort(source.positions).tolist())}
    with ProgressLine("corrupted images", count) as progress:
        for name in names:
            progress.note = name
            right = [
                {severity: np.zeros(len(place), dtype=bool) for severity in own.get(name, ())} for own in wanted
            ]  # fmt: skip
            for positions, images in source.corrupted(name, every[name]):
                rows = [place[position] for position in positions.tolist()]
                for severity, views in zip(every[name], images, strict=True):
                    features: dict[str, NDArray[np.float32]] = {}
                    for network, correct in zip(networks, right, strict=True):
                        if severity not in correct:
                            continue
                        if network.body_key not in features:
                            features[network.body_key] = network.features(views)
                        predicted = network.predict(features[network.body_key])
                        correct[severity][rows] = predicted == source.targets[positions]
                    progress.advance(len(positions))
            yield name, right


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Turn off OpenCV's own threads, as images are already corrupted in parallel."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
