"""What networks say of corrupted images: each is corrupted once, however many networks look at it."""

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
    """What classifies images."""

    @property
    def body_key(self) -> str:
        """Equal for two networks that have the same features."""

    def features(self, views: Images) -> NDArray[np.float32]:
        """Features (N, D) of images uint8 (V, N, S, S, 3), V views of each."""

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the predicted classes (N,) of features (N, D)."""


@dataclass
class Source:
    """Test images as they enter a network, in the batches that it takes.

    ``load`` gives one view of an image, (S, S, 3), by its position and the view's number. With ``in_turn`` it is
    called by one thread at a time.
    """

    load: Callable[[int, int], Images]
    targets: NDArray[np.int64]
    """Of all positions."""
    batches: Sequence[Positions]
    views: int = 1
    in_turn: bool = False

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self.positions = np.concatenate(list(self.batches))
        self._contents = self._read()

    def _read(self) -> dict[int, list[int]]:
        """What is in each image, by its position."""

        def work(batch: Positions) -> list[list[int]]:
            views = self.batch(batch)
            return [[content_of(view[number]) for view in views] for number in range(len(batch))]

        threads = usable_cores()
        found = ahead(work, self.batches, threads, 2 * threads)
        told: dict[int, list[int]] = {}
        with ProgressLine("hashing test images", len(self.positions)) as progress:
            for batch, contents in zip(self.batches, found, strict=True):
                told |= zip(batch.tolist(), contents, strict=True)
                progress.advance(len(batch))
        return told

    def batch(self, positions: Positions) -> Images:
        """(V, N, S, S, 3)."""

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
        """Of the images at these positions, in that order, with their targets."""
        digest = hashlib.sha256()
        for position in positions.tolist():
            digest.update(f"{self.targets[position]} {self._contents[position]}\n".encode())
        return digest.hexdigest()

    @property
    def key(self) -> tuple[str, tuple[int, ...]]:
        """Equal for two sources that give the same images in the same batches."""
        return self.digest(self.positions), tuple(len(batch) for batch in self.batches)

    def corrupted(self, name: str, severities: Sequence[int]) -> Iterator[tuple[Positions, Images]]:
        """Positions (N,) of each batch, and its images at each severity: uint8 (severities, V, N, S, S, 3)."""

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
    """Corruption by corruption: its name, and for each network which images it told right, by severity.

    ``wanted`` says for each network which severities of which corruptions; what is told is (positions,), in the order
    of the positions from the lowest.
    """
    names = [name for name in NAMES if any(name in of for of in wanted)]
    every = {name: sorted({severity for of in wanted for severity in of.get(name, ())}) for name in names}
    count = len(source.positions) * sum(map(len, every.values()))
    place = {position: number for number, position in enumerate(np.sort(source.positions).tolist())}
    with ProgressLine("corrupted images", count) as progress:
        for name in names:
            progress.note = name
            right = [
                {severity: np.zeros(len(place), dtype=bool) for severity in of.get(name, ())} for of in wanted
            ]  # fmt: skip
            for positions, images in source.corrupted(name, every[name]):
                rows = [place[position] for position in positions.tolist()]
                for severity, views in zip(every[name], images, strict=True):
                    features: dict[str, NDArray[np.float32]] = {}
                    for network, told in zip(networks, right, strict=True):
                        if severity not in told:
                            continue
                        if network.body_key not in features:
                            features[network.body_key] = network.features(views)
                        predicted = network.predict(features[network.body_key])
                        told[severity][rows] = predicted == source.targets[positions]
                    progress.advance(len(positions))
            yield name, right


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Small images are corrupted side by side: OpenCV's own threads would only be in the way."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
