"""Write answers: as a table for people, CSV, JSON lines, links sorted by label, and label images."""

import csv
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from headstart.figures.pixel_images import label_palette
from headstart.files import atomic_file, printable
from headstart.models.answers import flat
from headstart.models.description import ModelDescription
from headstart.records.pixel_files import pixel_file, write_label_image, write_number_image
from headstart.tables import table_text

SHOWN = 100  # images of a table on the terminal
NO_LABEL = "no label"  # the folder of images without any
JSON_LINES = ".jsonl"
Write = Callable[[str, Mapping[str, Any]], None]


@contextmanager
def answer_writer(output: Path | None, count: int, rounded: bool, top: int, is_sorted: bool) -> Iterator[Write]:
    """Give a function that takes path and answer of each image: a file, a table, or CSV on standard output.

    CSV has numbers of 12 digits if they are ``rounded``, else all of them.
    """
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(output) as file:
            yield _json_lines(file) if output.suffix.lower() == JSON_LINES else _rows(file, rounded)
    elif count > SHOWN and not is_sorted:
        yield _rows(None, rounded)
    elif count > SHOWN:
        yield lambda path, answer: None  # the links are the result
    else:
        shown: list[tuple[str, Mapping[str, Any]]] = []
        yield lambda path, answer: shown.append((path, answer))
        if shown:
            print(_table(shown, top))


def _json_lines(file: IO[bytes]) -> Write:
    def write(path: str, answer: Mapping[str, Any]) -> None:
        line = json.dumps({"path": path, **answer}, ensure_ascii=False)
        file.write((line + "\n").encode(errors="backslashreplace"))

    return write


def _rows(file: IO[bytes] | None, rounded: bool) -> Write:
    """Return a function that writes CSV to a file, or to standard output; the first row gives the columns."""

    class Lines:
        def write(self, text: str) -> int:
            if file is None:
                return sys.stdout.write(text)
            return file.write(text.encode(errors="backslashreplace"))

    table = csv.writer(Lines(), lineterminator="\n")
    begun: list[bool] = []

    def write(path: str, answer: Mapping[str, Any]) -> None:
        cells = flat(answer)
        if not begun:
            table.writerow(["path", *cells])
            begun.append(True)
        table.writerow([path, *(_cell(value, rounded) for value in cells.values())])

    return write


def _cell(value: Any, rounded: bool) -> str:
    """Return a value as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.12g}" if isinstance(value, float) and rounded else str(value)


def _table(shown: Sequence[tuple[str, Mapping[str, Any]]], top: int) -> str:
    """Return a table for the terminal: a line an image."""
    rows = [{"image": printable(path), **_short(answer, top)} for path, answer in shown]
    header = list(rows[0])
    right = [all(re.fullmatch(r"-?[\d.,e+-]+ ?%?", row[name]) for row in rows) for name in header]
    return table_text(header, [list(row.values()) for row in rows], right)


def _short(answer: Mapping[str, Any], top: int) -> dict[str, str]:
    """Return the cells of an answer for people."""
    cells: dict[str, str] = {}
    for name, value in answer.items():
        if name == "probabilities":
            best = sorted(value.items(), key=lambda one: -one[1])
            skip = 1 if "label" in answer else 0
            if rest := best[skip : max(top, skip)]:
                cells["next" if skip else "probabilities"] = ", ".join(f"{one} {100 * of:.1f} %" for one, of in rest)
        elif name == "shares":
            best = sorted(value.items(), key=lambda one: -one[1])[:top]
            cells["pixels"] = ", ".join(f"{one} {100 * of:.1f} %" for one, of in best if of)
        elif name == "values":
            cells |= {one: f"{of:.5g}" for one, of in value.items()}
        elif name == "intervals":
            cells |= {f"interval of {one}": f"{low:.5g} to {high:.5g}" for one, (low, high) in value.items()}
        elif name == "probability":
            cells[name] = f"{100 * value:.1f} %"
        elif name == "unlike":
            cells["unlike training"] = "yes" if value else "no"
        elif name == "distance":
            cells[name] = f"{value:.3f}"
        elif isinstance(value, Mapping):
            cells |= {f"{name} {one}": of for one, of in _short(value, top).items()}
        else:
            cells[name] = (", ".join(value) or "–") if isinstance(value, list) else printable(str(value))
    return cells


def label_sorter(folder: Path, counts: Counter[str]) -> Callable[[Path, Mapping[str, Any]], None]:
    """Return a function that links an image into the folder of each of its labels."""

    def sort(path: Path, answer: Mapping[str, Any]) -> None:
        for label in [answer["label"]] if "label" in answer else answer["labels"] or [NO_LABEL]:
            home = folder / folder_name(label)
            home.mkdir(parents=True, exist_ok=True)
            _link(path, home)
            counts[label] += 1

    return sort


def folder_name(label: str) -> str:
    """Return a label as the name of one folder: a model from elsewhere may not choose a place."""
    name = re.sub(r"[/\\\0-\x1f]", "_", label).strip()[:200]
    return "_" if name in ("", ".", "..") else name


def _link(path: Path, home: Path) -> None:
    """Link an image into a folder; a name that another image has gets a number, and nothing is overwritten."""
    target = os.path.abspath(path)  # noqa: PTH100 - a link to a link stays one
    for number in range(1, 1_000_000):
        name = path.name if number == 1 else f"{path.stem}-{number}{path.suffix}"
        link = home / name
        if link.is_symlink() and os.readlink(link) == target:  # noqa: PTH115
            return
        with suppress(FileExistsError):
            link.symlink_to(target)
            return


def mask_writer(folder: Path, classes: int) -> Callable[[int, Path, Any], str]:
    """Return a function that writes a label image and returns its path."""
    colours = label_palette(classes)

    def save(place: int, path: Path, labels: Any) -> str:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / pixel_file(place, path.name)
        return str(
            write_label_image(file, labels, colours) if labels.dtype.kind != "f" else write_number_image(file, labels)
        )

    return save


def closing(options: Any, described: ModelDescription, counts: Counter[str], done: int) -> Iterator[str]:
    """Yield what a user has to know of the answers; ``options`` are those of the command."""
    fitted = {name: one.temperature for name, one in described.calibration.items() if one.temperature}
    if fitted and not options.raw:
        texts = [f"{f'{name}: ' if name else ''}{value:.2f}" for name, value in fitted.items()]
        print_as = f"temperature {', '.join(texts)}"
        yield f"Probabilities are calibrated on validation images ({print_as}); --raw gives those of the network."
    if options.sort_into and done:
        folders = ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))
        yield f"Linked into {options.sort_into}: {folders}."
    if options.output and done:
        yield f"Written: {done:,} rows to {options.output}."
