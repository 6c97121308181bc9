"""robustness.json of a run: which images its network told right, clean and under each corruption."""

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

from headstart.errors import DataError
from headstart.records.documents import read_json
from headstart.records.opening import MissingFileError, first_line
from headstart.records.runs import LONGEST_NAME, shown

SCHEMA = 1
JSON, CSV = "robustness.json", "robustness.csv"
MOST = 64 * 2**20
"""Bytes of the file; for 50,000 test images it takes one."""
Cell = tuple[str, int]
"""A corruption and a severity."""
Right = NDArray[np.bool_]


@dataclass(frozen=True)
class Robustness:
    """What was measured of one network, on N of its test images; all errors are fractions of 1."""

    images: str
    """A digest of the pixels and targets of the images, in their order."""
    total: int
    """Test images that there are."""
    size: int
    """Side of the images as they enter the network, in pixels."""
    made_by: str
    """What corrupted them."""
    weights: str
    """The sha256 of best.ckpt."""
    fingerprint: str | None
    """Of the test images, as run.json has it."""
    clean: Right
    """(N,) which clean images were told right."""
    results: Mapping[Cell, Right]
    """(N,) the same of corrupted ones."""

    @property
    def count(self) -> int:
        """N."""
        return len(self.clean)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """What was measured, sorted."""
        return tuple(sorted(self.results))

    @property
    def corruptions(self) -> list[str]:
        """Their names, as they were measured."""
        return list(dict.fromkeys(name for name, _ in self.results))

    @property
    def severities(self) -> list[int]:
        """Those that any corruption was measured at."""
        return sorted({severity for _, severity in self.results})

    @property
    def clean_error(self) -> float:
        """Share of the clean images told wrong."""
        return 1 - float(self.clean.mean())

    @cached_property
    def per_image(self) -> NDArray[np.float64]:
        """(N,) for each image the share of its corrupted forms that was told right."""
        return np.mean([self.results[cell] for cell in self.cells], axis=0, dtype=np.float64)

    @property
    def mean_error(self) -> float:
        """Mean corruption error: unnormalised, over all that was measured; NaN where nothing was."""
        return 1 - float(self.per_image.mean()) if self.results else float("nan")

    @property
    def relative_error(self) -> float:
        """Mean corruption error less the error on clean images."""
        return self.mean_error - self.clean_error

    def error(self, name: str | None = None, severity: int | None = None) -> float:
        """Mean error of a corruption, a severity, or one at the other; NaN where none was measured."""
        chosen = [
            1 - float(right.mean())
            for (of, at), right in self.results.items()
            if name in (None, of) and severity in (None, at)
        ]
        return float(np.mean(chosen)) if chosen else float("nan")

    def with_results(self, results: Mapping[Cell, Right], names: Sequence[str]) -> Robustness:
        """These added, in place of what was there of the same, and all in the order of the names."""
        every = {**self.results, **results}
        ordered = sorted(every, key=lambda cell: (names.index(cell[0]), cell[1]))
        return replace(self, results={cell: every[cell] for cell in ordered})

    def same_test(self, other: Robustness) -> bool:
        """Whether both were measured on the same corrupted images."""
        return (self.images, self.made_by, self.cells) == (other.images, other.made_by, other.cells)

    def text(self) -> str:
        """As JSON."""
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
        """A row a corruption and severity; severity 0 is clean."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["corruption", "severity", "accuracy", "pictures"])
        rows = [("none", 0, self.clean), *((*cell, right) for cell, right in self.results.items())]
        table.writerows([name, severity, f"{right.mean():.6g}", len(right)] for name, severity, right in rows)
        return text.getvalue()


def read_robustness(directory: Path) -> Robustness | None:
    """What a run directory holds; None without a file. Raises DataError for one that is damaged or of another schema.

    What the file says of shares is not read: it is counted from the images.
    """
    try:
        content = read_json(directory, JSON, MOST)
    except MissingFileError:
        return None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        found = content.get("schema") if isinstance(content, dict) else None
        raise DataError(f"{JSON} has schema {shown(found)}, this version reads {SCHEMA}")
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
        raise DataError(f"{JSON} is damaged ({first_line(error)})") from None


def _packed(right: Right) -> dict[str, Any]:
    """Shares for people; a bit an image, in order, for everything else."""
    accuracy = float(right.mean())
    bits = base64.b64encode(np.packbits(right).tobytes()).decode()
    return {"accuracy": accuracy, "error": 1 - accuracy, "right": bits}


def _unpacked(entry: Mapping[str, Any], count: int) -> Right:
    packed = np.frombuffer(base64.b64decode(entry["right"], validate=True), dtype=np.uint8)
    if count < 1 or len(packed) != -(-count // 8):
        raise ValueError(f"a list of answers does not go with {count} images")
    return np.unpackbits(packed, count=count).astype(bool)
