"""Read PNG files of a run directory that are complete and that a browser can show."""

import struct
import zlib
from pathlib import Path

from headstart.records.opening import MB, read_inside, unreadable

MOST_PNG, MOST_PIXELS = 32 * MB, 64_000_000
SIGNATURE = b"\x89PNG\r\n\x1a\n"


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
                raise unreadable(name, f"it is said to have {width:,} x {height:,} pixels")
        place += 12 + length
    return content
