"""Write and read robustness.json: which test images a network predicts right, clean and under each corruption."""

from __future__ import annotations

import base64
import binascii
import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.boundary.documents import read_json
from headstart.boundary.opening import MissingFileError, first_line
from headstart.errors import DataError
from headstart.files import write_atomically
from headstart.records.names import ROBUSTNESS_FILE, ROBUSTNESS_TABLE
from headstart.records.record import LONGEST_NAME, shown

SCHEMA = 1
MOST = 64 * 2**20  # bytes of the file; 50,000 test images take one megabyte
Cell = tuple[str, int]  # a corruption and a severity
Right = NDArray[np.bool_]


@dataclass(frozen=True)
class Robustness:
    """The results of one network on N of its test images. All errors are fractions of 1."""

    images: str
    """A digest of the pixels and targets of the images, in their order."""
    total: int
    """How many test images there are."""
    size: int
    """Side of the images as they enter the network, in pixels."""
    made_by: str
    """What made the corrupted images: packages and their versions."""
    weights: str
    """The sha256 of best.ckpt."""
    fingerprint: str | None
    """The fingerprint of the test images in run.json."""
    clean: Right
    """(N,) which clean images are predicted right."""
    results: Mapping[Cell, Right]
    """(N,) the same for corrupted images."""

    @property
    def count(self) -> int:
        """Return N."""
        return len(self.clean)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Return the measured corruptions and severities, sorted."""
        return tuple(sorted(self.results))

    @property
    def corruptions(self) -> list[str]:
        """Return the names of the corruptions in the order of the file."""
        return list(dict.fromkeys(name for name, _ in self.results))

    @property
    def severities(self) -> list[int]:
        """Return the severities of all corruptions, sorted."""
        return sorted({severity for _, severity in self.results})

    @property
    def clean_error(self) -> float:
        """Return the error on clean images."""
        return 1 - float(self.clean.mean())

    @cached_property
    def per_image(self) -> NDArray[np.float64]:
        """Return (N,) the fraction of the corrupted versions of each image that is predicted right."""
        return np.mean([self.results[cell] for cell in self.cells], axis=0, dtype=np.float64)

    @property
    def mean_error(self) -> float:
        """Return the mean corruption error, not normalised; NaN if nothing was measured."""
        return 1 - float(self.per_image.mean()) if self.results else float("nan")

    @property
    def relative_error(self) -> float:
        """Return the mean corruption error less the error on clean images."""
        return self.mean_error - self.clean_error

    def error(self, name: str | None = None, severity: int | None = None) -> float:
        """Return the mean error of a corruption, a severity or both; NaN if it was not measured."""
        chosen = [
            1 - float(right.mean())
            for (of, at), right in self.results.items()
            if name in (None, of) and severity in (None, at)
        ]
        return float(np.mean(chosen)) if chosen else float("nan")

    def with_results(self, results: Mapping[Cell, Right], names: Sequence[str]) -> Robustness:
        """Return a copy with these results added or replaced, all in the order of the names."""
        every = {**self.results, **results}
        ordered = sorted(every, key=lambda cell: (names.index(cell[0]), cell[1]))
        return replace(self, results={cell: every[cell] for cell in ordered})

    def same_test(self, other: Robustness) -> bool:
        """Return whether both were measured on the same corrupted images."""
        return (self.images, self.made_by, self.cells) == (other.images, other.made_by, other.cells)

    def text(self) -> str:
        """Return the content of robustness.json."""
        results: dict[str, dict[str, Any]] = {}
        for (name, severity), right in self.results.items():
            results.setdefault(name, {})[str(severity)] = _packed(right)
        content = {
            "schema": SCHEMA,
            "pictures": {"count": self.count, "of": self.total, "size": self.size, "digest": self.images},
            "made_by": self.made_by,
            "weights": self.weights,
            "test_fingerprint": self.fingerprint,
            "mean_corruption_error": self.mean_error if self.results else None,
            "relative_mean_corruption_error": self.relative_error if self.results else None,
            "clean": _packed(self.clean),
            "results": results,
        }
        return json.dumps(content, indent=1) + "\n"

    def csv(self) -> str:
        """Return the content of robustness.csv: a row a corruption and severity; severity 0 is clean."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["corruption", "severity", "accuracy", "pictures"])
        rows = [("none", 0, self.clean), *((*cell, right) for cell, right in self.results.items())]
        table.writerows([name, severity, f"{right.mean():.6g}", len(right)] for name, severity, right in rows)
        return text.getvalue()


def read_robustness(directory: Path) -> Robustness | None:
    """Read robustness.json; None if there is none. Raises DataError if it is damaged or has another schema.

    Errors are counted from the images again, not read.
    """
    try:
        content = read_json(directory, ROBUSTNESS_FILE, MOST)
    except MissingFileError:
        return None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        found = content.get("schema") if isinstance(content, dict) else None
        raise DataError(f"{ROBUSTNESS_FILE} has schema {shown(found)}, this version reads {SCHEMA}")
    try:
        if any(len(name) > LONGEST_NAME for name in content["results"]):
            raise ValueError("the name of a corruption is too long")
        images = content["pictures"]
        count = int(images["count"])
        return Robustness(
            str(images["digest"]),
            int(images["of"]),
            int(images["size"]),
            str(content["made_by"]),
            str(content["weights"]),
            content["test_fingerprint"],
            _unpacked(content["clean"], count),
            {
                (name, int(severity)): _unpacked(one, count)
                for name, of in content["results"].items()
                for severity, one in of.items()
            },
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, binascii.Error) as error:
        raise DataError(f"{ROBUSTNESS_FILE} is damaged ({first_line(error)})") from None


def write_robustness(directory: Path, found: Robustness) -> None:
    """Write both files of a run directory."""
    write_atomically(directory / ROBUSTNESS_FILE, found.text())
    write_atomically(directory / ROBUSTNESS_TABLE, found.csv())


def _packed(right: Right) -> dict[str, Any]:
    """Return accuracy and error for people, and one bit an image, in order, for programs."""
    accuracy = float(right.mean())
    bits = base64.b64encode(np.packbits(right).tobytes()).decode()
    return {"accuracy": accuracy, "error": 1 - accuracy, "right": bits}


def _unpacked(entry: Mapping[str, Any], count: int) -> Right:
    packed = np.frombuffer(base64.b64decode(entry["right"], validate=True), dtype=np.uint8)
    if count < 1 or len(packed) != -(-count // 8):
        raise ValueError(f"a list of answers does not go with {count} images")
    return np.unpackbits(packed, count=count).astype(bool)
