"""Test that images of numbers are read from every format, with a sentence for those that hold none."""

import io
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from headstart.inputs.deep import UnreadableError
from headstart.inputs.number_images import NumberReader

NUMBERS = np.arange(12, dtype=np.float32).reshape(3, 4) + 0.5
WHOLE = np.arange(12, dtype=np.uint16).reshape(3, 4) * 1000


def numpy_file(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values, allow_pickle=True)
    return file.getvalue()


def image_file(values: np.ndarray, form: str, **settings: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, form, **settings)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (numpy_file(NUMBERS), NUMBERS),
        (numpy_file(NUMBERS.astype(np.float64)[..., None]), NUMBERS),
        (numpy_file(NUMBERS.astype(">f4")), NUMBERS),
        (numpy_file(np.asfortranarray(WHOLE)), WHOLE),
        (numpy_file(-WHOLE.astype(np.int32)), -WHOLE.astype(np.float32)),
        (image_file(NUMBERS, "TIFF"), NUMBERS),
        (image_file(NUMBERS, "TIFF", compression="tiff_adobe_deflate"), NUMBERS),
        (image_file(WHOLE, "PNG"), WHOLE),
        (image_file(WHOLE, "TIFF"), WHOLE),
        (image_file((WHOLE // 1000).astype(np.uint8), "PNG"), WHOLE // 1000),
    ],
)
def test_every_format_is_read(content: bytes, expected: np.ndarray) -> None:
    found = NumberReader().read(content)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


def test_pixels_without_a_number_are_nan(tmp_path: Path) -> None:
    values = NUMBERS.copy()
    values[0, 0] = np.nan
    values[2, 3] = 7
    found = NumberReader(ignored=7).read(numpy_file(values))
    assert np.isnan(found).sum() == 2
    path = tmp_path / "numbers.npy"
    np.save(path, values)
    facts = NumberReader(ignored=7).look(path)
    known = np.delete(NUMBERS.ravel(), [0, 11])
    assert (facts.width, facts.height, facts.count) == (4, 3, 10)
    assert (facts.low, facts.high) == (known.min(), known.max())
    assert facts.total == pytest.approx(known.sum())
    assert facts.squares == pytest.approx((known**2).sum())


@pytest.mark.parametrize("turn", range(1, 9))
def test_numbers_are_turned_as_their_image_is(turn: int) -> None:
    """Masks without an orientation of their own take that of the image."""
    plain = NumberReader().read(image_file(NUMBERS, "TIFF"), turn)
    np.testing.assert_array_equal(NumberReader().read(numpy_file(NUMBERS), turn), plain)
    assert plain.shape == ((4, 3) if turn > 4 else (3, 4))


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "colours": (lambda: image_file(np.zeros((3, 4, 3), np.uint8), "PNG"), "expected one grey band"),
    "JPEG": (lambda: image_file(np.zeros((3, 4), np.uint8), "JPEG"), "JPEG changes values"),
    "infinity": (lambda: numpy_file(np.where(NUMBERS > 5, np.inf, NUMBERS)), "an infinite number"),
    "too large": (lambda: numpy_file(NUMBERS.astype(np.float64) * 1e35), "a number beyond 1e\\+30"),
    "text": (lambda: numpy_file(np.array([["a", "b"]])), "holds no numbers"),
    "objects": (lambda: numpy_file(np.array([[{}, 1]], dtype=object)), "holds no numbers"),
    "complex": (lambda: numpy_file(NUMBERS.astype(np.complex64)), "holds no numbers"),
    "one row": (lambda: numpy_file(NUMBERS[0]), r"shape \(4,\) is no image"),
    "a stack": (lambda: numpy_file(np.stack([NUMBERS] * 3)), r"shape \(3, 3, 4\) is no image"),
    "nothing in it": (lambda: numpy_file(NUMBERS[:0]), r"shape \(0, 4\) is no image"),
    "cut off": (lambda: numpy_file(NUMBERS)[:-3], "cut off"),
    "a claim of much memory": (
        lambda: numpy_file(NUMBERS).replace(b"(3, 4), }    ", b"(9999, 9999)}"), "cut off|no image"
    ),
    "no header": (lambda: b"\x93NUMPY\x01\x00", "EOF|header|array"),
    "no file of numbers": (lambda: b"numbers", "not an image"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_holds_no_numbers_is_refused(case: str) -> None:
    make, sentence = BAD[case]
    with pytest.raises(UnreadableError, match=sentence):
        NumberReader().read(make())


@given(st.binary(max_size=200), st.integers(0, 150))
def test_damage_ends_in_numbers_or_a_sentence(noise: bytes, at: int) -> None:
    content = numpy_file(NUMBERS)
    damaged = content[:at] + noise + content[at + len(noise) :]
    with suppress(UnreadableError):
        assert NumberReader().read(damaged).ndim == 2
