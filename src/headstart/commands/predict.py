"""headstart predict: use a finished run, or an exported model, on new images."""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.commands.explain import Parser
from headstart.commands.trusting import add_trust
from headstart.errors import ConfigError, DataError
from headstart.files import check_writable, expanded, printable
from headstart.guard import DONE
from headstart.models.description import model_folder

if TYPE_CHECKING:
    from headstart.models.model import Model
TOP = 5  # labels that the table shows
SUFFIXES = (".csv", ".jsonl")


def predict(arguments: Sequence[str]) -> int:
    """Predict images and return the exit code.

    Exit codes: 0 if at least one image was predicted, 2 if none could be or for a wrong argument, 1 if the machine
    failed. Unreadable images are listed on standard error, and the others are predicted.
    """
    options = _parser().parse_args(list(arguments))
    _check(options)
    model_folder(expanded(options.model))  # raises an error before torch is loaded, which takes seconds
    from headstart.models.asked import asked_images

    paths, notes = asked_images([expanded(place) for place in options.images])
    from headstart.models.answers import ModelAnswers, Question
    from headstart.models.loading import load_model
    from headstart.models.written import answer_writer, closing, label_sorter, mask_writer

    model = load_model(expanded(options.model), options.device, options.trust)
    answers = ModelAnswers(model.description, Question(options.raw, options.conformal))
    _check_task(options, model)
    images = model.images(list(paths))
    counts: Counter[str] = Counter()
    sort = label_sorter(options.sort_into, counts) if options.sort_into else None
    save = mask_writer(options.masks, len(model.description.output.names)) if options.masks else None
    done = 0
    rounded = model.description.output.task == "classification"  # as predictions.csv has them
    with answer_writer(options.output, len(paths), rounded, options.top, sort is not None) as write:
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
    for line in [*notes, *model.notes, *closing(options, model.description, counts, done)]:
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
    parser.add_argument(
        "--masks",
        type=Path,
        metavar="DIR",
        help="write predicted label images (PNG) or numbers of pixels (TIFF) to DIR",
    )
    parser.add_argument("--batch-size", type=int, metavar="N", help="images at once (default: as in the run)")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda", help="where to compute (default: auto)")
    add_trust(parser)
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
    if options.masks and task not in ("segmentation", "dense_regression"):
        raise ConfigError(
            f"--masks needs a model of task=segmentation or dense_regression; this one is of task={task}."
        )
