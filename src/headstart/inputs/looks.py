"""What is striking about the decoded images of a data set: flat, nearly black, all alike; and what was not used."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

FLAT = 2.0  # grey levels of deviation, of every colour
DARK, LIGHT = 24, 231  # an image all below or all above shows next to nothing
ALIKE = 0.75  # grey levels of mean distance from the median image
SUSPICIOUS = 48  # grey levels between the few pixels, below which all are looked at
SIDE = 16  # of the few pixels that are held against the median image: enough that one of them lies on a stroke
MOST = 250  # images whose median stands for that of all
SHARE, LEAST, NAMED = 0.1, 3, 3  # of the images, for a sentence; and names in it
SENTENCES = {
    "black": "come out nearly black, with no value above 23 of 255",
    "white": "come out nearly white, with no value below 232 of 255",
    "flat": "come out flat: their pixels deviate by less than 2 of 255 grey levels",
    "alike": "come out nearly the same as each other",
    "clipped": "have values above the range that dataset.bits names, which are taken as white",
}
ANY = ("clipped",)  # of which one image is worth a sentence


@dataclass
class Notes:
    """What is said of the images of a split; kept beside the digest of their contents."""

    count: int = 0
    deep: int = 0  # images with more than 8 bits
    unused: dict[str, int] = field(default_factory=dict)  # "fourth band of %d TIFF files", and the number
    odd: dict[str, list[Any]] = field(default_factory=dict)  # by kind: the number, and the first names

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)

    def mark(self, kind: str, name: str, count: int = 1) -> None:
        """Count images of a kind."""
        entry = self.odd.setdefault(kind, [0])
        entry[0] += count
        if len(entry) <= NAMED:
            entry.append(name)

    def phrases(self) -> list[str]:
        """Return what was found and not used."""
        return [phrase % count for phrase, count in self.unused.items()]

    def sentences(self) -> list[str]:
        """Return a sentence a kind that a substantial share of the images is of."""
        told = []
        for kind, what in SENTENCES.items():
            number, *names = self.odd.get(kind, [0])
            if number and (kind in ANY or number >= max(LEAST, SHARE * self.count)):
                hint = "; dataset.bits sets their range" if kind == "black" and self.deep else ""
                named = ", ".join(f"'{name}'" for name in names)
                told.append(f"{number} of {self.count} images {what}, such as {named}{hint}.")
        return told


def joined_notes(parts: Iterable[Notes]) -> Notes:
    """Return the sum of what is said of several splits."""
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
    """Return of an image (H, W, 3) whether it is "black", "white", "flat" or "", and its few pixels to compare.

    All pixels are looked at only where the few give cause: a decoder's whole pass pays for this.
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
    """Return which images are next to the median of all, by the pixels that ``look`` gives of each."""
    size = max(map(len, few), default=0)
    rows = [number for number, values in enumerate(few) if len(values) == size]
    if len(rows) < LEAST:
        return []
    values = np.frombuffer(b"".join(few[row] for row in rows), np.uint8).reshape(len(rows), -1)
    median = np.median(values[:: max(1, len(rows) // MOST)], axis=0).astype(np.float32)
    return [rows[place] for place in np.flatnonzero(np.abs(values - median).mean(axis=1) < ALIKE).tolist()]
