"""Write the classes or numbers that a run predicts for each pixel, and the figure that shows some of them."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headstart.files import write_atomically
from headstart.records.names import EXPLAIN_FOLDER, PIXEL_FOLDER

MOST_IMAGES = 1000  # of test images; predictions.csv has the counts of all
LONGEST_NAME = 80  # characters of an image's name that a file keeps
LABEL_FIGURE, NUMBER_FIGURE = "label_images", "number_images"  # stems in EXPLAIN_FOLDER


def write_label_images(
    directory: Path, ids: Sequence[str], labels: NDArray[Any], colours: Sequence[tuple[int, int, int]]
) -> None:
    """Write label images (N, H, W) as PNG, the number of the class as value; with 256 classes at most, in ``colours``.

    A file is named after the row of predictions.csv, from 0, and the image: 00007_lake.png.
    """
    for place, values in zip(_places(directory, ids), labels, strict=False):
        write_label_image(place, values, colours)


def write_label_image(place: Path, values: NDArray[Any], colours: Sequence[tuple[int, int, int]]) -> Path:
    """Write one label image (H, W) to a path without suffix, as ``write_label_images`` does; return its path."""
    if len(colours) <= 256:
        image = Image.fromarray(values.astype(np.uint8), "P")
        image.putpalette([channel for colour in colours for channel in colour])
    else:
        image = Image.fromarray(values.astype(np.uint16))
    write_atomically(path := place.with_suffix(".png"), _content(image, "PNG"))
    return path


def write_number_images(directory: Path, ids: Sequence[str], numbers: NDArray[np.float32]) -> None:
    """Write numbers (N, H, W) as TIFF files of floats, named as label images are."""
    for place, values in zip(_places(directory, ids), numbers, strict=False):
        write_number_image(place, values)


def write_number_image(place: Path, values: NDArray[np.float32]) -> Path:
    """Write numbers (H, W) as a TIFF file of floats to a path without suffix; return its path."""
    write_atomically(path := place.with_suffix(".tiff"), _content(Image.fromarray(values), "TIFF"))
    return path


def write_pixel_figure(directory: Path, stem: str, figure: Image.Image) -> None:
    """Write a figure beside those of ``headstart explain``, as PNG and PDF."""
    folder = directory / EXPLAIN_FOLDER
    folder.mkdir(exist_ok=True)
    write_atomically(folder / f"{stem}.png", _content(figure, "PNG"))
    write_atomically(folder / f"{stem}.pdf", _content(figure, "PDF"))


def _places(directory: Path, ids: Sequence[str]) -> Iterator[Path]:
    """Yield the paths of the first files, without suffix; make their folder."""
    folder = directory / PIXEL_FOLDER
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(ids[:MOST_IMAGES]):
        yield folder / pixel_file(number, name)


def pixel_file(number: int, name: str) -> str:
    """Return the name without suffix of the file of an image: 00007_lake."""
    return f"{number:05d}_{_plain(name)}"


def _plain(name: str) -> str:
    """Return the last part of an image's name without suffix, with only letters, digits, signs and underscores."""
    stem = PurePosixPath(name).stem[:LONGEST_NAME]
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in stem)


def _content(image: Image.Image, form: str) -> bytes:
    content = io.BytesIO()
    image.save(content, format=form)
    return content.getvalue()
