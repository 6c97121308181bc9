"""headstart predict: use a finished run, or an exported model, on new images."""

import argparse
import csv
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from headstart.commands.explain import Parser
from headstart.errors import ConfigError, DataError
from headstart.files import atomic_file, check_writable, expanded, printable
from headstart.guard import DONE
from headstart.tables import table_text

if TYPE_CHECKING:
    from headstart.models.model import Model
TOP, SHOWN = 5, 100  # labels and images of the table on the terminal
SUFFIXES = (".csv", ".jsonl")
NO_LABEL = "no label"  # the folder of images without any, for --sort-into
Write = Callable[[str, Mapping[str, Any]], None]


def predict(arguments: Sequence[str]) -> int:
    """Predict images and return the exit code.

    Exit codes: 0 if at least one image was predicted, 2 if none could be or for a wrong argument, 1 if the machine
    failed. Unreadable images are listed on standard error, and the others are predicted.
    """
    options = _parser().parse_args(list(arguments))
    _check(options)
    from headstart.models.asked import asked_images

    paths, notes = asked_images([expanded(place) for place in options.images])
    from headstart.models.answers import Answers, Question
    from headstart.models.loading import load_model

    model = load_model(expanded(options.model), options.device, options.allow)
    answers = Answers(model.description, Question(options.raw, options.conformal))
    _check_task(options, model)
    images = model.images(list(paths))
    counts: Counter[str] = Counter()
    sort = _sorter(options.sort_into, counts) if options.sort_into else None
    save = _mask_writer(options.masks, model) if options.masks else None
    done = 0
    rounded = model.description.output.task == "classification"  # as predictions.csv has them
    with _writer(options, len(paths), rounded) as write:
        for found in model.outputs(images, options.batch_size):
            rows = zip(found.positions.tolist(), answers.of(found.values, found.distances), strict=True)
            for number, (place, answer) in enumerate(rows):
                if place in images.unreadable:
                    continue
                if save is not None:
                    answer = {"mask": save(place, paths[place], found.values[number].numpy()), **answer}
                if sort is not None:
                    sort(paths[place], answer)
                write(str(paths[place]), answer)
                done += 1
    for line in [*notes, *model.notes, *_closing(options, model, counts, done)]:
        print(line, file=sys.stderr)
    for place, reason in sorted(images.unreadable.items()):
        print(f"unreadable: {printable(str(paths[place]))} ({reason})", file=sys.stderr)
    if not done:
        raise DataError(f"None of {len(paths):,} images can be read.")
    if images.unreadable:
        print(f"{len(images.unreadable):,} of {len(paths):,} images cannot be read and are left out.", file=sys.stderr)
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="headstart predict",
        description="Predict images with the network of a finished run, or with an exported model. It needs neither the"
        " data nor the settings of the run. Probabilities are calibrated on validation images.",
    )
    parser.add_argument("model", type=Path, metavar="RUN_OR_MODEL", help="a run directory or a folder with model.json")
    parser.add_argument(
        "images", nargs="+", type=Path, metavar="IMAGE|FOLDER|LIST",
        help="images, folders of images, or lists: a CSV file with a column path, or a text file with a path a line",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write a row an image to FILE.csv or FILE.jsonl (JSON lines)"
    )
    parser.add_argument(
        "--top", type=int, default=TOP, metavar="K", help=f"labels that the table shows (default: {TOP})"
    )
    parser.add_argument(
        "--sort-into", type=Path, metavar="DIR", help="link each image into DIR/LABEL; moves and overwrites nothing"
    )
    parser.add_argument(
        "--conformal", type=float, metavar="SHARE",
        help="also give the set of labels, or the interval, that holds the truth for this share of images, as in 0.9",
    )  # fmt: skip
    parser.add_argument("--raw", action="store_true", help="give the network's own probabilities, as predictions.csv")
    parser.add_argument("--masks", type=Path, metavar="DIR", help="write predicted label images to DIR, as PNG")
    parser.add_argument("--batch-size", type=int, metavar="N", help="images at once (default: as in the run)")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda", help="where to compute (default: auto)")
    parser.add_argument(
        "--allow", action="append", default=[], metavar="PACKAGE", help="allow the model to use code of this package"
    )
    return parser


def _check(options: argparse.Namespace) -> None:
    for name in ("top", "batch_size"):
        if (value := getattr(options, name)) is not None and value < 1:
            raise ConfigError(f"--{name.replace('_', '-')} {value}: expected a whole number of 1 or more.")
    if options.conformal is not None and not 0 < options.conformal < 1:
        raise ConfigError(f"--conformal {options.conformal:g}: expected a share between 0 and 1, such as 0.9.")
    if not re.fullmatch(r"auto|cpu|mps|(cuda|gpu)(:\d{1,3})?", options.device):
        raise ConfigError(f"--device {options.device}: expected auto, cpu, mps, cuda, or one GPU as in cuda:0.")
    if options.output is not None:
        if options.output.suffix.lower() not in SUFFIXES:
            raise ConfigError(f"--output {options.output}: expected a name that ends in .csv or .jsonl.")
        options.output = expanded(options.output)
        check_writable(options.output.parent, "choose another --output", [options.output.name])
    for name in ("sort_into", "masks"):
        if (folder := getattr(options, name)) is not None:
            setattr(options, name, expanded(folder))
            check_writable(expanded(folder), f"choose another --{name.replace('_', '-')}")


def _check_task(options: argparse.Namespace, model: "Model") -> None:
    task = model.description.output.task
    if options.sort_into and task not in ("classification", "multilabel"):
        raise ConfigError(f"--sort-into needs labels, and a model of task={task} gives none for an image.")
    if options.masks and task != "segmentation":
        raise ConfigError(f"--masks needs a model of task=segmentation, and this one is of task={task}.")


def _closing(options: argparse.Namespace, model: "Model", counts: Counter[str], done: int) -> Iterator[str]:
    """Yield what a user has to know of the answers."""
    described = model.description
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


@contextmanager
def _writer(options: argparse.Namespace, count: int, rounded: bool) -> Iterator[Write]:
    """Give a function that takes path and answer of each image: a file, a table, or CSV on standard output.

    CSV has numbers of 12 digits if they are ``rounded``, else all of them.
    """
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(options.output) as file:
            yield _json_lines(file) if options.output.suffix.lower() == ".jsonl" else _rows(file, rounded)
    elif count > SHOWN and not options.sort_into:
        yield _rows(None, rounded)
    elif count > SHOWN:
        yield lambda path, answer: None  # the links are the result
    else:
        shown: list[tuple[str, Mapping[str, Any]]] = []
        yield lambda path, answer: shown.append((path, answer))
        if shown:
            print(_table(shown, options.top))


def _json_lines(file: IO[bytes]) -> Write:
    def write(path: str, answer: Mapping[str, Any]) -> None:
        line = json.dumps({"path": path, **answer}, ensure_ascii=False)
        file.write((line + "\n").encode(errors="backslashreplace"))

    return write


def _rows(file: IO[bytes] | None, rounded: bool) -> Write:
    """Return a function that writes CSV to a file, or to standard output; the first row gives the columns."""
    from headstart.models.answers import flat

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


def _sorter(folder: Path, counts: Counter[str]) -> Callable[[Path, Mapping[str, Any]], None]:
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


def _mask_writer(folder: Path, model: "Model") -> Callable[[int, Path, Any], str]:
    """Return a function that writes a label image and returns its path."""
    from headstart.figures.pixel_images import label_palette
    from headstart.records.pixel_files import write_label_image

    colours = label_palette(len(model.description.output.names))

    def save(place: int, path: Path, labels: Any) -> str:
        folder.mkdir(parents=True, exist_ok=True)
        return str(write_label_image(folder, place, path.name, labels, colours))

    return save
