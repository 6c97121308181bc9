"""Test that PNG files of a run are complete and not too large to show; others are named."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from headstart.errors import DataError
from headstart.records.explained import SIGNATURE, read_png


def png(side: int = 4) -> bytes:
    made = io.BytesIO()
    Image.fromarray(np.zeros((side, side, 3), dtype=np.uint8)).save(made, "PNG")
    return made.getvalue()


def header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return SIGNATURE + struct.pack(">I", 13) + body + zlib.crc32(body).to_bytes(4, "big")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is no PNG file"),
        (b"GIF89a", "it is no PNG file"),
        (png()[:-1], "it is cut off or damaged"),
        (SIGNATURE, "it is cut off or damaged"),
        (SIGNATURE + b"\xff" * 100, "it is cut off or damaged"),
        (header(50_000, 50_000) + png()[33:], "its header states 50,000 x 50,000 pixels"),
        (header(0, 4) + png()[33:], "its header states 0 x 4 pixels"),
    ],
)
def test_damaged(content: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=rf"^a\.png cannot be read \({why}\)$"):
        read_png(tmp_path, "a.png")


@given(st.integers(0, len(png()) - 1), st.integers(1, 255))
def test_any_byte_changed(tmp_path_factory: pytest.TempPathFactory, place: int, change: int) -> None:
    folder, whole = tmp_path_factory.mktemp("run"), png()
    (folder / "a.png").write_bytes(whole)
    assert read_png(folder, "a.png") == whole
    (folder / "a.png").write_bytes(whole[:place] + bytes([whole[place] ^ change]) + whole[place + 1 :])
    with pytest.raises(DataError):
        read_png(folder, "a.png")
