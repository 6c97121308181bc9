"""Read the names and colours of classes from files, and make the reader of label images from them."""

import re
from collections.abc import Sequence

from headstart.errors import DataError
from headstart.files import expanded, printable
from headstart.inputs.label_images import IGNORED, MOST_CLASSES, UNKNOWN, LabelReader
from headstart.settings.rules import is_file

Colour = tuple[int, int, int]
MOST_BYTES = 2**20  # that are read of a file
SEPARATOR = re.compile(r"[\s,;]+")


def read_names(file: str) -> list[str]:
    """Return the class names in a text file, one per line, the first for index 0. Raises DataError."""
    names = [line.strip() for line in _lines("classes", file) if line.strip()]
    if len(set(names)) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise DataError(f"dataset.classes={file}: the name '{double}' occurs twice; expected different names.")
    return names


def read_palette(file: str) -> tuple[list[str], list[Colour]]:
    """Return the names and colours in a file with one class per line: "128 64 128 road" or "road,128,64,128".

    The first line may be a header. Raises DataError.
    """
    names: list[str] = []
    colours: list[Colour] = []
    for number, line in enumerate(_lines("palette", file), 1):
        parts = [part for part in SEPARATOR.split(line.strip()) if part]
        if not parts:
            continue
        values = [int(part) for part in parts if re.fullmatch(r"\d{1,3}", part) and int(part) < 256]
        words = [part for part in parts if not part.isdigit()]
        if len(values) != 3 or not words or len(values) + len(words) != len(parts):
            if number == 1 and not values:
                continue
            raise DataError(
                f"dataset.palette={file}: line {number} reads '{printable(line.strip())[:40]}'; expected a name and"
                " three numbers from 0 to 255, such as 'road,128,64,128'."
            )
        names.append(" ".join(words))
        colours.append((values[0], values[1], values[2]))
    shown = [" ".join(map(str, colour)) for colour in colours]
    for noun, texts in (("name", names), ("colour", shown)):
        if len(set(texts)) < len(texts):
            double = next(text for text in texts if texts.count(text) > 1)
            raise DataError(f"dataset.palette={file}: two lines have the {noun} {double}; expected different ones.")
    return names, colours


def label_reader(
    names: Sequence[str], ignore_index: int | None, colours: Sequence[Colour] | None
) -> tuple[list[str], LabelReader]:
    """Return the names of the classes without the ignored one, and the reader, which numbers these from 0.

    Raises DataError for fewer than two classes, or too many.
    """
    kept = [name for index, name in enumerate(names) if index != ignore_index]
    if len(kept) < 2:
        only = f"only the class '{kept[0]}'" if kept else "no class"
        raise DataError(f"The masks have {only}; segmentation needs at least two.")
    if len(kept) > MOST_CLASSES:
        raise DataError(f"There are {len(kept):,} classes; at most {MOST_CLASSES:,} are possible.")
    length = max(len(names), 0 if ignore_index is None else ignore_index + 1)
    numbers = iter(range(len(kept)))
    table = [
        IGNORED if index == ignore_index else next(numbers) if index < len(names) else UNKNOWN
        for index in range(length)
    ]
    return kept, LabelReader(len(kept), tuple(table), None if colours is None else tuple(colours))


def _lines(key: str, file: str) -> list[str]:
    path = expanded(file)
    if not is_file(path):
        raise DataError(f"dataset.{key}={file}: there is no such file.")
    content = path.read_bytes()[:MOST_BYTES]
    try:
        return content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"dataset.{key}={file}: this is no text in UTF-8; expected one class per line.") from error
