"""Note suspicious images (flat, nearly black, nearly identical) and parts of files that are not used."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

FLAT = 2.0  # standard deviation of each colour, in grey levels
DARK, LIGHT = 24, 231  # an image that is entirely darker or lighter is suspicious
ALIKE = 0.75  # mean distance from the median image, in grey levels
SUSPICIOUS = 48  # all pixels are checked if the sampled ones span fewer grey levels
SIDE = 16  # side of the grid of sampled pixels; fine enough to hit a pen stroke
MOST = 250  # images used for the median
SHARE, LEAST, NAMED = 0.1, 3, 3  # fraction and number of images needed for a sentence; names in it
SENTENCES = {
    "black": "are nearly black, with no value above 23 of 255",
    "white": "are nearly white, with no value below 232 of 255",
    "flat": "are flat: their pixels deviate by less than 2 of 255 grey levels",
    "alike": "are nearly identical to each other",
    "clipped": "have values above the range that dataset.bits names, which are taken as white",
}
ANY = ("clipped",)  # kinds that are reported for a single image


@dataclass
class Notes:
    """Notes on the images of a split, stored beside the digest of their contents."""

    count: int = 0
    deep: int = 0  # images with more than 8 bits
    unused: dict[str, int] = field(
        default_factory=dict
    )  # number of files by phrase, such as "fourth band of %d TIFF files"
    odd: dict[str, list[Any]] = field(default_factory=dict)  # by kind: the number, and the first names

    def to_json(self) -> dict[str, Any]:
        """Return the notes as plain values."""
        return asdict(self)

    def mark(self, kind: str, name: str, count: int = 1) -> None:
        """Count images of a kind."""
        entry = self.odd.setdefault(kind, [0])
        entry[0] += count
        if len(entry) <= NAMED:
            entry.append(name)

    def phrases(self) -> list[str]:
        """Return a phrase for each kind of file content that was not used."""
        return [phrase % count for phrase, count in self.unused.items()]

    def sentences(self) -> list[str]:
        """Return a sentence for each suspicious kind that enough images have."""
        sentences = []
        for kind, what in SENTENCES.items():
            number, *names = self.odd.get(kind, [0])
            if number and (kind in ANY or number >= max(LEAST, SHARE * self.count)):
                hint = "; dataset.bits sets their range" if kind == "black" and self.deep else ""
                named = ", ".join(f"'{name}'" for name in names)
                sentences.append(f"{number} of {self.count} images {what}, such as {named}{hint}.")
        return sentences


def joined_notes(parts: Iterable[Notes]) -> Notes:
    """Return the notes of several splits as one."""
    whole = Notes()
    for part in parts:
        whole.count, whole.deep = whole.count + part.count, whole.deep + part.deep
        whole.unused = dict(Counter(whole.unused) + Counter(part.unused))
        for kind, (number, *names) in part.odd.items():
            entry = whole.odd.setdefault(kind, [0])
            entry[0] += number
            entry += names[: NAMED + 1 - len(entry)]
    return whole


def look(image: NDArray[np.uint8]) -> tuple[str, bytes]:
    """Return the kind of an image (H, W, 3), "black", "white", "flat" or "", and its sampled pixels.

    All pixels are checked only if the sample is suspicious, because this runs on every image.
    """
    height, width = image.shape[:2]
    few = image[:: max(1, height // SIDE), :: max(1, width // SIDE), 1][:SIDE, :SIDE].tobytes()
    if max(few) - min(few) >= SUSPICIOUS:
        return "", few
    if int(image.max()) < DARK:
        return "black", few
    if int(image.min()) > LIGHT:
        return "white", few
    return ("flat" if cv2.meanStdDev(image)[1].max() < FLAT else ""), few


def alike(few: Sequence[bytes]) -> list[int]:
    """Return the positions of images close to the median image; ``few`` are the sampled pixels from ``look``."""
    size = max(map(len, few), default=0)
    rows = [number for number, values in enumerate(few) if len(values) == size]
    if len(rows) < LEAST:
        return []
    values = np.frombuffer(b"".join(few[row] for row in rows), np.uint8).reshape(len(rows), -1)
    median = np.median(values[:: max(1, len(rows) // MOST)], axis=0).astype(np.float32)
    return [rows[place] for place in np.flatnonzero(np.abs(values - median).mean(axis=1) < ALIKE).tolist()]
