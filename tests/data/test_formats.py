"""Test decoded pixels of each format against values computed by hand."""

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from headstart.backbones import Preprocessing
from headstart.data import ImageFolder
from headstart.errors import ConfigError, DataError
from headstart.inputs.decoding import Decoder
from headstart.inputs.deep import NoRangeError, PixelRange, UnreadableError, behaves_as_alpha
from headstart.inputs.seen import SeenImages

SIDE = 16
DECODER = Decoder(SIDE, pixel_range=PixelRange(65535, 1.0))
Y, X = np.mgrid[:SIDE, :SIDE]
GREY = (16 * Y + X).astype(np.uint8)  # every value once
COLOUR = np.dstack([GREY, 255 - GREY, GREY.T])
ALPHA = np.where(X < SIDE // 2, 255, 0).astype(np.uint8)
ONE_BIT = (X + Y) % 4 < 2
SIXTEEN = GREY.astype(np.uint16) * 257
PALETTE = np.stack([np.arange(256), np.arange(256)[::-1], np.arange(256) // 2], axis=1).astype(np.uint8)


def grey(values: NDArray) -> NDArray:
    return np.repeat(values[..., None], 3, axis=2)


def palette() -> Image.Image:
    image = Image.fromarray(GREY).convert("P")
    image.putpalette(PALETTE.ravel().tolist())
    image.putdata(GREY.ravel().tolist())
    return image


KINDS: dict[str, tuple[Callable[[], Image.Image], NDArray]] = {
    "grey": (lambda: Image.fromarray(GREY), grey(GREY)),
    "colour": (lambda: Image.fromarray(COLOUR), COLOUR),
    "alpha": (lambda: Image.fromarray(np.dstack([COLOUR, ALPHA])), np.where(ALPHA[..., None] == 255, COLOUR, 255)),
    "palette": (palette, PALETTE[GREY]),
    "16 bits": (lambda: Image.fromarray(SIXTEEN), grey(GREY)),
    "1 bit": (lambda: Image.fromarray(ONE_BIT), grey(ONE_BIT * np.uint8(255))),
}
# Format: options of saving, and the kinds that it cannot hold as they are (Pillow refuses them or writes another kind).
FORMATS: dict[str, tuple[dict[str, object], set[str]]] = {
    "PNG": ({}, set()),
    "TIFF": ({}, set()),
    "WEBP": ({"lossless": True, "exact": True}, {"16 bits"}),
    "JPEG": ({"quality": 100, "subsampling": 0}, {"alpha", "palette", "16 bits"}),
    "JPEG2000": ({}, {"palette", "1 bit"}),
    "AVIF": ({"quality": 100, "subsampling": "4:4:4"}, {"16 bits"}),
    "GIF": ({}, {"alpha", "16 bits", "colour"}),
    "BMP": ({}, {"alpha", "16 bits"}),
    "PPM": ({}, {"alpha", "palette"}),
    "TGA": ({}, {"16 bits"}),
    "ICO": ({"sizes": [(SIDE, SIDE)]}, set()),
    "PCX": ({}, {"alpha", "16 bits"}),
    "SGI": ({}, {"palette", "16 bits", "1 bit"}),
    "DDS": ({}, {"palette", "16 bits", "1 bit"}),
}
LOSSY = {"JPEG": 4, "AVIF": 4}  # grey levels of mean difference


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_format_gives_the_pixels_that_were_saved(format_: str, kind: str, tmp_path: Path) -> None:
    options, missing = FORMATS[format_]
    if kind in missing:
        pytest.skip(f"{format_} holds no {kind}")
    image, expected = KINDS[kind][0](), KINDS[kind][1]
    path = tmp_path / "image"
    image.save(path, format_, **options)
    decoded = DECODER(path).astype(int)
    assert decoded.shape == (SIDE, SIDE, 3)
    apart = np.abs(decoded - expected)
    if format_ == "GIF" and kind == "grey":  # 256 levels in a palette
        assert apart.max() <= 1
    elif LOSSY.get(format_):
        assert apart.mean() <= LOSSY[format_]
    else:
        assert apart.max() == 0


def tiff(values: NDArray, **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)  # type: ignore[arg-type]
    return file.getvalue()


def encoded(suffix: str, values: NDArray) -> bytes:
    """Return an image encoded by OpenCV, from RGB or grey."""
    order = values if values.ndim == 2 else values[..., [2, 1, 0, 3][: values.shape[2]]]
    return bytes(cv2.imencode(suffix, order)[1])


TWELVE = COLOUR.astype(np.uint16) * 16 + 7  # 12 bits in 16
RGB: dict[str, object] = {"photometric": "rgb"}
ON_WHITE = np.where(ALPHA[..., None], COLOUR, 255)
EXACT = PixelRange(4095, 1.0)
NOT_ALPHA = GREY.astype(np.uint16) // 20 + 100


@pytest.mark.parametrize(
    ("content", "expected", "pixel_range"),
    [
        (encoded(".png", TWELVE), COLOUR, EXACT),
        (encoded(".png", np.dstack([TWELVE, ALPHA.astype(np.uint16) * 257])), ON_WHITE, EXACT),
        (encoded(".ppm", TWELVE), COLOUR, EXACT),
        (encoded(".png", TWELVE[..., 0]), grey(GREY), EXACT),
        (tiff(TWELVE, **RGB), COLOUR, EXACT),
        (tiff(TWELVE, byteorder=">", **RGB), COLOUR, EXACT),
        (tiff(np.moveaxis(TWELVE, 2, 0).copy(), planarconfig="separate", **RGB), COLOUR, EXACT),
        (encoded(".tiff", TWELVE), COLOUR, EXACT),  # LZW
        (tiff(np.dstack([TWELVE, NOT_ALPHA]), extrasamples=["unassalpha"], **RGB), COLOUR, EXACT),
        (tiff(np.dstack([TWELVE, NOT_ALPHA]), extrasamples=["assocalpha"], **RGB), COLOUR, EXACT),
        (tiff(np.dstack([COLOUR, NOT_ALPHA.astype(np.uint8)]), extrasamples=["assocalpha"], **RGB), COLOUR, EXACT),
        (tiff(np.dstack([COLOUR, ALPHA]), extrasamples=["unassalpha"], **RGB), ON_WHITE, EXACT),
        (tiff(np.dstack([COLOUR, GREY, GREY]), photometric="minisblack", planarconfig="contig"), COLOUR, EXACT),
        (tiff((COLOUR / 255).astype(np.float32), **RGB), COLOUR, EXACT),
        (tiff(GREY / 255), grey(GREY), EXACT),  # 64 bits
        (tiff(GREY.astype(np.float16), photometric="minisblack"), grey(GREY), PixelRange(None, 255.0)),
        (tiff(TWELVE[..., 0].astype(np.int16)), grey(GREY), EXACT),
        (tiff(TWELVE[..., 0].astype(np.uint32)), grey(GREY), EXACT),
        (tiff(TWELVE[..., 0], photometric="miniswhite"), grey(255 - GREY), EXACT),
        (tiff((GREY // 2).astype(np.int8)), grey(GREY), PixelRange(127)),
    ],
)  # fmt: skip
def test_more_than_8_bits_are_scaled_by_the_range(
    content: bytes, expected: NDArray, pixel_range: PixelRange, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(content)
    decoded = Decoder(SIDE, pixel_range=pixel_range)(tmp_path / "a").astype(int)
    assert np.abs(decoded - expected).max() <= 1


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (GREY.astype(np.int16) - 5, r"negative, down to -5"),
        (np.where(GREY == 9, np.nan, 0.5).astype(np.float32), "NaN"),
        (np.where(GREY == 9, np.inf, 0.5).astype(np.float32), "infinite"),
        (GREY.astype(np.complex64), "complex64"),
        (GREY.view(np.int8), "negative, down to -128"),
    ],
)
def test_values_that_no_range_holds_are_refused(values: NDArray, reason: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(tiff(values))
    with pytest.raises(UnreadableError, match=reason):
        DECODER(tmp_path / "a")


def test_without_a_range_only_what_needs_one_is_refused(tmp_path: Path) -> None:
    decoder = Decoder(SIDE, pixel_range=None)
    Image.fromarray(GREY).save(tmp_path / "shallow.png")
    assert np.array_equal(decoder(tmp_path / "shallow.png")[..., 0], GREY)
    Image.fromarray(SIXTEEN).save(tmp_path / "deep.png")
    with pytest.raises(NoRangeError):
        decoder(tmp_path / "deep.png")


@pytest.mark.parametrize(
    ("band", "expected"),
    [
        (np.full((9, 9), 255, np.uint8), True),
        (np.full((9, 9), 65535, np.uint16), True),
        (ALPHA, True),
        (np.clip(X * 60 - 200, 0, 255).astype(np.uint8), True),  # a mask with a soft border
        (np.full((9, 9), 12, np.uint8), False),
        (np.full((9, 9), 128, np.uint8), False),
        (GREY, False),
        (np.where(X < 14, 0, 200).astype(np.uint8), False),  # a band without data on most of the image
    ],
)
def test_alpha_is_distinguished_from_other_bands(band: NDArray, expected: bool) -> None:
    assert behaves_as_alpha(band) is expected


def images_of(tmp_path: Path, made: Callable[[int], bytes], count: int = 12) -> Path:
    """Write two classes with this number of images."""
    for label in "ab":
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(count):
            (tmp_path / "images" / label / f"{number}.tif").write_bytes(made(number + count * (label == "b")))
    return tmp_path / "images"


def prepared(root: Path, seen: SeenImages | None = None, **settings: object) -> ImageFolder:
    data = ImageFolder(root=str(root), **settings)  # type: ignore[arg-type]
    data.prepare(Preprocessing(SIDE, (0.5,) * 3, (0.25,) * 3, "bilinear", 1.0), None, seen)
    return data


def noise(number: int, most: int = 256, bands: int = 1) -> NDArray:
    shape = (SIDE, SIDE, bands) if bands > 1 else (SIDE, SIDE)
    return np.random.default_rng(number).integers(0, most, shape)


@pytest.mark.parametrize(("most", "white"), [(4096, 4095), (256, 255), (3000, 4095), (65536, 65535)])
def test_one_range_holds_for_all_images_of_a_data_set(most: int, white: int, tmp_path: Path) -> None:
    """The range also holds for images with small values, and for any subset."""
    root = images_of(tmp_path, lambda number: tiff(noise(number, most if number == 3 else most // 8).astype(np.uint16)))
    for settings in ({}, {"split_seed": 1}, {"labels_per_class": 2, "subset_seed": 4}):
        data = prepared(root, **settings)
        assert data.pixel_range == {"integers": white, "floats": None}
        name = data.train.ids[0]
        expected = np.rint(tifffile.imread(root / name) * (255 / white))
        assert np.abs(data.train.image(0)[..., 0] - expected).max() <= 1


def test_bits_set_the_range_and_higher_values_are_counted(tmp_path: Path) -> None:
    root = images_of(tmp_path, lambda number: tiff(noise(number, 4096 if number == 3 else 1024).astype(np.uint16)))
    data = prepared(root, bits=10)
    assert data.pixel_range == {"integers": 1023, "floats": 1023.0}
    (sentence,) = data.warnings
    assert sentence.startswith("1 of 24 images have values above the range that dataset.bits names")
    assert "'a/3.tif'" in sentence


def test_bits_without_an_image_that_has_them_are_refused(tmp_path: Path) -> None:
    root = images_of(tmp_path, lambda number: tiff(noise(number).astype(np.uint8)))
    assert prepared(root).pixel_range is None
    with pytest.raises(ConfigError, match="no image of images has more than 8 bits"):
        prepared(root, bits=12)


def test_a_file_with_negative_values_is_named(tmp_path: Path) -> None:
    root = images_of(tmp_path, lambda number: tiff((noise(number, 4096) - 4096 * (number == 15)).astype(np.int16)))
    with pytest.raises(DataError, match=r"'b/3.tif' cannot be read \(some values are negative, down to -"):
        prepared(root)
    assert prepared(root, on_error="skip").skipped == ["b/3.tif"]


def test_warnings_are_repeated_without_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pages(number: int) -> bytes:
        return tiff(np.stack([noise(number, 100 if number else 4000)] * 2).astype(np.uint16), photometric="minisblack")

    root, seen = images_of(tmp_path, pages), SeenImages(tmp_path / "seen")
    first = prepared(root, seen)
    assert first.not_used == ["further pages of 24 TIFF files"]
    assert "nearly black" in first.warnings[0]
    assert "dataset.bits" in first.warnings[0]
    monkeypatch.setattr("headstart.data.decoded_splits.decode_all", lambda *_: pytest.fail("decoded again"))
    monkeypatch.setattr("headstart.inputs.reading.find_range", lambda *_: pytest.fail("looked for the range again"))
    again = prepared(root, seen)
    assert (again.not_used, again.warnings, again.pixel_range) == (first.not_used, first.warnings, first.pixel_range)
    monkeypatch.undo()
    (root / "a" / "0.tif").write_bytes(pages(5))  # of the same size
    assert prepared(root, seen).pixel_range == {"integers": 127, "floats": None}


def test_near_infrared_is_no_alpha(tmp_path: Path) -> None:
    def four_bands(number: int) -> bytes:
        rgb = noise(number, 256, 3).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(np.dstack([rgb, 12 + rgb[..., 0] // 64])).save(file, "TIFF")  # Pillow tags it as alpha
        return file.getvalue()

    data = prepared(images_of(tmp_path, four_bands))
    assert data.not_used == ["fourth band of 24 TIFF files"]
    with Image.open(tmp_path / "images" / data.train.ids[0]) as image:
        assert np.array_equal(data.train.image(0), np.asarray(image)[..., :3])


def test_further_frames_are_counted(tmp_path: Path) -> None:
    def animated(number: int) -> bytes:
        file, frames = io.BytesIO(), [Image.fromarray(noise(number + k).astype(np.uint8)) for k in (0, 50)]
        if number % 4:
            frames[0].save(file, ("GIF", "WEBP", "PNG")[number % 4 - 1], save_all=True, append_images=frames[1:])
        else:
            frames[0].save(file, "JPEG")
        return file.getvalue()

    assert prepared(images_of(tmp_path, animated)).not_used == ["further frames of 18 images"]


LOOKS: dict[str, Callable[[int], NDArray]] = {
    "nearly black": lambda number: noise(number, 20),
    "nearly white": lambda number: 255 - noise(number, 20),
    "flat": lambda number: 40 + 8 * number + noise(number, 3),
    "nearly identical to each other": lambda number: noise(0, 250) + noise(number, 2),
}


@pytest.mark.parametrize("what", LOOKS)
def test_blank_images_are_warned_of(what: str, tmp_path: Path) -> None:
    root = images_of(
        tmp_path,
        lambda number: tiff((LOOKS[what] if number % 4 == 0 or "other" in what else noise)(number).astype(np.uint8)),
    )
    (sentence,) = prepared(root).warnings
    assert what in sentence
    assert sentence.count("'") == 6
    assert sentence.startswith("24 of 24" if "other" in what else "6 of 24")


def test_strokes_on_black_and_a_few_flat_images_give_no_warning(tmp_path: Path) -> None:
    def stroke(number: int) -> bytes:
        values = np.zeros((SIDE, SIDE), np.uint8)
        if number not in (1, 3):  # two of one class are empty
            values[:, number % SIDE] = 255 - number
        return tiff(values)

    assert prepared(images_of(tmp_path, stroke)).warnings == []


@pytest.mark.parametrize(("width", "height"), [(64, 32), (32, 64), (40, 40), (300, 10)])
def test_squish_keeps_the_whole_image_and_pad_its_shape(width: int, height: int, tmp_path: Path) -> None:
    values = np.full((height, width), 200, np.uint8)
    values[:, : width // 2] = 100
    Image.fromarray(values).save(tmp_path / "a.png")
    squished = Decoder(SIDE, resize="squish")(tmp_path / "a.png")
    assert squished.shape == (SIDE, SIDE, 3)
    assert (squished[:, 0] == 100).all()
    assert (squished[:, -1] == 200).all()
    padded = Decoder(SIDE, resize="pad")(tmp_path / "a.png")
    assert padded.shape == (SIDE, SIDE, 3)
    inside = (padded != 127).all(axis=2)
    rows, columns = inside.any(axis=1).sum(), inside.any(axis=0).sum()
    assert (rows, columns) == (
        max(1, round(SIDE * height / max(width, height))),
        max(1, round(SIDE * width / max(width, height))),
    )
    assert not inside[0].any() or height >= width
