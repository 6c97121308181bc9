"""Name and read the figures that ``headstart explain`` writes into a run directory."""

import struct
import zlib
from pathlib import Path

from headstart.boundary.opening import MB, MissingFileError, is_inside, read_inside, unreadable
from headstart.errors import DataError
from headstart.records.names import EXPLAIN_FOLDER

EXPLAINED = {
    "mistakes": "Most confident mistakes",
    "grad_cam": "Grad-CAM",
    "embedding": "Embedding",
    "label_images": "Images, truth, predictions and errors",
    "number_images": "Images, truth, predictions and errors",
}
"""The figures by the stems of their files, with their titles; runs with a target for each pixel write the last two."""
EXPLAIN_FILES = tuple(f"{figure}{end}" for figure in EXPLAINED for end in (".png", "-dark.png", ".pdf", ".csv"))
"""The files that may be written."""
MOST_PNG, MOST_PIXELS = 32 * MB, 64_000_000
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def explained_in(directory: Path) -> tuple[list[str], list[str]]:
    """Return which of ``EXPLAINED`` a run directory has, whole, and what is wrong with the others."""
    whole, wrong = [], []
    for name in EXPLAINED:
        try:
            read_png(directory, f"{EXPLAIN_FOLDER}/{name}.png")
        except MissingFileError:
            continue
        except DataError as error:
            wrong.append(str(error))
            continue
        if is_inside(directory, f"{EXPLAIN_FOLDER}/{name}.pdf"):
            whole.append(name)
    return whole, wrong


def read_png(directory: Path, name: str) -> bytes:
    """Return the content of a PNG file. Raises DataError if it is missing, cut, changed or too large to show."""
    content = read_inside(directory, name, MOST_PNG)
    place, kind = len(SIGNATURE), b""
    if not content.startswith(SIGNATURE):
        raise unreadable(name, "it is no PNG file")
    while kind != b"IEND":
        length, kind = struct.unpack(">I4s", content[place : place + 8].ljust(8, b"\0"))
        body = content[place + 4 : place + 8 + length]
        if content[place + 8 + length : place + 12 + length] != zlib.crc32(body).to_bytes(4, "big"):
            raise unreadable(name, "it is cut off or damaged")
        if place == len(SIGNATURE):
            width, height = struct.unpack(">II", body[4:12].ljust(8, b"\0"))
            if kind != b"IHDR" or not 0 < width * height <= MOST_PIXELS:
                raise unreadable(name, f"its header states {width:,} x {height:,} pixels")
        place += 12 + length
    return content
