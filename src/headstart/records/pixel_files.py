"""Write the classes or numbers that a run predicts for each pixel, and the figure that shows some of them."""

import io
from collections.abc import Sequence
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
    folder = directory / PIXEL_FOLDER
    folder.mkdir(exist_ok=True)
    for number, (name, values) in enumerate(zip(ids[:MOST_IMAGES], labels, strict=False)):
        write_label_image(folder, number, name, values, colours)


def write_label_image(
    folder: Path, number: int, name: str, values: NDArray[Any], colours: Sequence[tuple[int, int, int]]
) -> Path:
    """Write one label image (H, W), as ``write_label_images`` does, and return its path."""
    if len(colours) <= 256:
        image = Image.fromarray(values.astype(np.uint8), "P")
        image.putpalette([channel for colour in colours for channel in colour])
    else:
        image = Image.fromarray(values.astype(np.uint16))
    path = folder / f"{number:05d}_{_plain(name)}.png"
    write_atomically(path, _content(image, "PNG"))
    return path


def write_number_images(directory: Path, ids: Sequence[str], numbers: NDArray[np.float32]) -> None:
    """Write numbers (N, H, W) as TIFF files of floats, named as label images are."""
    folder = directory / PIXEL_FOLDER
    folder.mkdir(exist_ok=True)
    for number, (name, values) in enumerate(zip(ids[:MOST_IMAGES], numbers, strict=False)):
        write_number_image(folder, number, name, values)


def write_number_image(folder: Path, number: int, name: str, values: NDArray[np.float32]) -> Path:
    """Write numbers (H, W) of one image as a TIFF file of floats, and return its path."""
    path = folder / f"{number:05d}_{_plain(name)}.tiff"
    write_atomically(path, _content(Image.fromarray(values), "TIFF"))
    return path


def write_pixel_figure(directory: Path, stem: str, figure: Image.Image) -> None:
    """Write a figure beside those of ``headstart explain``, as PNG and PDF."""
    folder = directory / EXPLAIN_FOLDER
    folder.mkdir(exist_ok=True)
    write_atomically(folder / f"{stem}.png", _content(figure, "PNG"))
    write_atomically(folder / f"{stem}.pdf", _content(figure, "PDF"))


def _plain(name: str) -> str:
    """Return the last part of an image's name without suffix, with only letters, digits, signs and underscores."""
    stem = PurePosixPath(name).stem[:LONGEST_NAME]
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in stem)


def _content(image: Image.Image, form: str) -> bytes:
    content = io.BytesIO()
    image.save(content, format=form)
    return content.getvalue()
