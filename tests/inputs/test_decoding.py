"""Test that every kind of image is decoded correctly or refused with a reason, without much memory."""

import errno
import io
import os
import socket
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from headstart.errors import CrashError, DataError
from headstart.files import printable
from headstart.inputs import decoding
from headstart.inputs.collection import Collection
from headstart.inputs.decoding import MOST_PIXELS, Decoder, UnreadableError, content_hash, read_whole
from headstart.inputs.reading import decode_all, refuse

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
SIDE = 24
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
DECODER = Decoder(SIDE)


def decoded(image: Image.Image, path: Path, **options: object) -> np.ndarray:
    """Save an image and return what the decoder reads."""
    image.save(path, **options)  # type: ignore[arg-type]
    return DECODER(path)


def is_all(image: np.ndarray, colour: tuple[int, int, int], tolerance: int = 3) -> bool:
    return image.shape == (SIDE, SIDE, 3) and bool((np.abs(image.astype(int) - colour) <= tolerance).all())


def png_of(width: int, height: int) -> bytes:
    """Return a PNG whose header claims this size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif"])
def test_of_an_animation_the_first_frame_is_taken(suffix: str, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (30, 30), colour) for colour in (RED, GREEN, BLUE)]
    image = decoded(frames[0], tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    assert is_all(image, RED)


def test_cmyk_is_read_as_adobe_writes_it(tmp_path: Path) -> None:
    cmyk = Image.new("CMYK", (40, 40), (0, 255, 255, 0))  # no cyan, all magenta and yellow: red
    path = tmp_path / "cmyk.jpg"
    assert is_all(decoded(cmyk, path, quality=95), RED)
    content = path.read_bytes()
    assert b"Adobe" in content  # the marker of inverted values, as Photoshop writes them
    at = content.index(b"\xff\xee")
    length = struct.unpack(">H", content[at + 2 : at + 4])[0]
    path.write_bytes(content[:at] + content[at + 2 + length :])
    assert is_all(DECODER(path), RED)


@pytest.mark.parametrize(
    ("suffix", "dtype"), [("png", "<u2"), ("tif", "<u2"), ("tif", ">u2"), ("pgm", "<u2")], ids=lambda value: value
)
def test_16_bits_are_scaled(suffix: str, dtype: str, tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, SIDE * SIDE).reshape(SIDE, SIDE).astype(dtype)
    image = decoded(Image.fromarray(ramp), tmp_path / f"ramp.{suffix}")
    assert np.abs(image[..., 0].astype(int) - ramp / 257).max() <= 1
    assert not np.ptp(image, axis=2).any()


def test_white_may_be_zero_in_a_tiff(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(np.full((SIDE, SIDE), 60000, dtype=np.uint16)).save(path)
    content = bytearray(path.read_bytes())
    at = content.index(struct.pack("<HHI", 262, 3, 1)) + 8
    assert content[at] == 1
    content[at] = 0
    path.write_bytes(content)
    assert is_all(DECODER(path), (255 - 234,) * 3, 1)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_32_bits_have_no_range_to_scale_from(dtype: type, tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="no known range: save it with 8 or 16 bits"):
        decoded(Image.fromarray(np.ones((9, 9), dtype=dtype)), tmp_path / "a.tif")


def half_transparent(mode: str) -> Image.Image:
    """Return an image with red or dark grey above, and below another colour at alpha 0."""
    image = Image.new("RGBA", (40, 40), (*RED, 255))
    image.paste((0, 90, 90, 0), (0, 20, 40, 40))
    if mode == "P":
        palette = Image.new("P", (40, 40), 1)
        palette.putpalette([0, 90, 90, *RED])
        palette.paste(0, (0, 20, 40, 40))
        palette.info["transparency"] = 0
        return palette
    return image.convert(mode)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("RGBA", "png"), ("LA", "png"), ("P", "png"), ("RGBA", "gif"), ("P", "gif"), ("RGBA", "webp"), ("P", "webp")],
)
def test_transparent_pixels_become_white(mode: str, suffix: str, tmp_path: Path) -> None:
    options = {"webp": {"lossless": True, "exact": True}}.get(suffix, {})
    image = decoded(half_transparent(mode), tmp_path / f"a.{suffix}", **options)
    assert (image[-8:] == 255).all()
    top = (76,) * 3 if mode == "LA" else RED
    assert np.abs(image[:8].astype(int) - top).max() <= 3


def test_half_of_alpha_is_half_white(tmp_path: Path) -> None:
    assert is_all(decoded(Image.new("RGBA", (9, 9), (0, 0, 0, 128)), tmp_path / "a.png"), (127,) * 3)
    transparent = Image.new("RGB", (9, 9), BLUE)
    assert is_all(decoded(transparent, tmp_path / "b.png", transparency=BLUE), WHITE)
    assert is_all(decoded(transparent.convert("RGBA"), tmp_path / "c.png"), BLUE)


def test_one_bit_and_one_pixel(tmp_path: Path) -> None:
    assert is_all(decoded(Image.new("1", (40, 40), 1), tmp_path / "a.png"), WHITE)
    assert is_all(decoded(Image.new("RGB", (1, 1), GREEN), tmp_path / "b.png"), GREEN)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_images_are_turned_upright(orientation: int, suffix: str, tmp_path: Path) -> None:
    """The upright image is red at the upper left, green at the upper right, blue at the lower left."""
    upright = np.zeros((40, 40, 3), dtype=np.uint8)
    upright[:20, :20], upright[:20, 20:], upright[20:, :20] = RED, GREEN, BLUE
    turns = {1: 0, 2: 0, 3: 2, 4: 2, 5: 3, 6: 1, 7: 1, 8: 3}[orientation]
    stored = np.rot90(upright, turns)
    if orientation in (2, 4, 5, 7):
        stored = stored[:, ::-1]
    exif = Image.Exif()
    exif[274] = orientation
    options = {"quality": 95, "subsampling": 0} if suffix == "jpg" else {}
    image = decoded(
        Image.fromarray(np.ascontiguousarray(stored)), tmp_path / f"a.{suffix}", exif=exif.tobytes(), **options
    )
    for (row, column), colour in {(5, 5): RED, (5, 18): GREEN, (18, 5): BLUE, (18, 18): (0, 0, 0)}.items():
        assert np.abs(image[row, column].astype(int) - colour).max() < 40, (row, column)


def test_exif_that_cannot_be_read_turns_nothing(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 40), RED)
    assert is_all(decoded(image, tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + bytes(9)), RED, 4)


def test_the_content_decides_and_not_the_suffix(tmp_path: Path) -> None:
    Image.new("RGB", (30, 30), BLUE).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert is_all(DECODER(tmp_path / "a.jpg"), BLUE)


@pytest.mark.parametrize("width", [30_000, 16_385, 2**31 - 1])
@pytest.mark.parametrize("format_", ["PNG", "BMP"])
def test_a_bomb_is_refused_before_it_is_decoded(
    width: int, format_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.jpg"
    path.write_bytes(png_of(width, width))
    if format_ == "BMP":
        header = struct.pack("<IiiHHIIiiII", 40, width, min(width, 30_000), 1, 24, 0, 0, 0, 0, 0, 0)
        path.write_bytes(b"BM" + struct.pack("<IHHI", 10_000, 0, 0, 54) + header + bytes(1000))
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("its pixels were asked for"))
    with pytest.raises(
        UnreadableError, match=f"at most {MOST_PIXELS:,} are decoded|the {MOST_PIXELS:,} pixels that are"
    ):
        DECODER(path)


def test_a_large_photograph_is_no_bomb(tmp_path: Path) -> None:
    """Telephones take images of 200 megapixels, more than Pillow's limit."""
    side = 14_143  # squared, more than twice Pillow's own limit
    assert is_all(decoded(Image.new("L", (side, side), 255), tmp_path / "a.jpg"), WHITE)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"not an image", "not an image that can be identified"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "it is PostScript, a program"),
    ],
)
def test_files_that_are_no_images_get_a_reason(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(UnreadableError, match=reason):
        DECODER(path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "bmp", "tif"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_half_an_image_is_refused(suffix: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UnreadableError):
        DECODER(path)


def test_paths_that_are_no_files_are_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.jpg")
    Path("folder.jpg").mkdir()
    Path("nowhere.jpg").symlink_to("gone.jpg")
    Path("loop.jpg").symlink_to("loop.jpg")
    Path("device.jpg").symlink_to("/dev/zero")
    server = socket.socket(socket.AF_UNIX)
    server.bind("socket.jpg")
    reasons = {}

    def read() -> None:
        for path in sorted(Path().glob("*.jpg")):
            with pytest.raises(UnreadableError) as told:
                read_whole(path)
            reasons[path.stem] = str(told.value)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(20)
    server.close()
    assert reasons == {
        "device": "it is a device, not a file",
        "folder": "it is a folder, not a file",
        "loop": "too many levels of symbolic links",
        "nowhere": "a link that leads nowhere",
        "pipe": "it is a named pipe, not a file",
        "socket": "it is a socket, not a file",
    }


def test_no_system_takes_a_zero_byte_in_a_name() -> None:
    with pytest.raises(UnreadableError, match="null"):
        read_whole(Path("a\0b.png"))


def test_a_file_without_end_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    with path.open("wb") as file:
        file.truncate(2**40)  # sparse: it takes no room
    with pytest.raises(UnreadableError, match="1,099,511,627,776 bytes, more than"):
        content_hash(path)


def test_a_sentence_names_how_many_and_the_first() -> None:
    refuse({}, 9)
    with pytest.raises(DataError, match=r"^The image 'a' cannot be read \(why\); replace it, or skip .*=skip\.$"):
        refuse({"a": "why"}, 9)
    many = dict.fromkeys("abcde", "why")
    sentence = r"^5 of 9 images cannot be read: 'a' \(why\), 'b' \(why\), 'c' \(why\) and 2 more; replace them"
    with pytest.raises(DataError, match=sentence):
        refuse(many, 9)


@given(st.binary(min_size=1, max_size=30).filter(lambda name: b"/" not in name and b"\0" not in name))
def test_names_can_be_written_and_kept_apart(name: bytes) -> None:
    shown = printable(os.fsdecode(name))
    shown.encode()
    assert len(shown.splitlines()) <= 1
    if os.fsdecode(name).isprintable():
        assert shown == os.fsdecode(name)


def test_names_in_any_script_stay() -> None:
    for name in ("Hündin.jpg", "犬.png", "كلب.jpg", "👨\u200d👩\u200d👧.gif"):
        assert printable(name) == name
    assert printable(os.fsdecode(b"caf\xe9\n.jpg")) == "caf\\xe9\\x0a.jpg"


def seeds() -> list[bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (13, 17, 3), dtype=np.uint8)
    made = []
    for name in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, name)
        made.append(file.getvalue())
    return made


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(seeds()), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8), st.floats(0, 1))
def test_damage_gives_an_image_or_a_reason(content: bytes, changes: list[tuple[float, int]], end: float) -> None:
    data = bytearray(content)
    for place, value in changes:
        data[int(place * (len(data) - 1))] = value
    data = data[: max(1, int(len(data) * min(1, 2 * end)))]
    path = Path("damaged.jpg")
    path.write_bytes(data)
    reason, image = "", np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    try:
        image = DECODER(path)
    except UnreadableError as error:
        reason = str(error) or "\n"
    assert len(reason.splitlines()) <= 1
    assert reason != "\n"
    assert image.dtype == np.uint8
    assert min(image.shape[:2]) == SIDE


def test_a_bug_of_a_library_is_a_reason_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (9, 9)).save(tmp_path / "a.png")

    def fails(*args: object) -> None:
        raise KeyError("chunk")

    monkeypatch.setattr(decoding, "_open", fails)
    with pytest.raises(UnreadableError, match="damaged, KeyError: 'chunk'"):
        DECODER(tmp_path / "a.png")


@pytest.mark.parametrize("where", ["headstart.inputs.decoding._open", "PIL.ImageOps.exif_transpose"])
@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EMFILE, "Too many open files")])
def test_a_lack_of_the_machine_is_no_reason(
    error: Exception, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (9, 9)).save(tmp_path / "a.png")

    def fails(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(where, fails)
    with pytest.raises(type(error)):
        DECODER(tmp_path / "a.png")


def test_a_lack_of_memory_leaves_no_image_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / f"{name}.png" for name in "ab"]
    for side, path in enumerate(paths, 9):
        Image.new("L", (side, side)).save(path)
    opened = decoding._open

    def fails_for_b(source: bytes, *args: int | None) -> object:
        if source == paths[1].read_bytes():
            raise MemoryError
        return opened(source, *args)

    monkeypatch.setattr(decoding, "_open", fails_for_b)
    images = Collection(["a", "b"], np.zeros(2, dtype=np.int64), paths)
    with pytest.raises(CrashError, match="memory is used up at the image 'b'"):
        decode_all(images, DECODER, keep=True, what="images")
