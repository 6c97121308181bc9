"""Check labels: missing values, spellings, several labels per image, numbers, contradictions, class sizes."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.errors import DataError
from headstart.inputs.collection import Targets
from headstart.inputs.found import images_text

MISSING = frozenset("nan none null nil n/a na #n/a #na <na> nat - -- ? undefined missing".split())
SEVERAL = re.compile(r"\s*[;|]\s*")  # separates the labels of one image
# Commas separate labels, too, if there are fewer different parts than different cells; otherwise they belong to names.
COMMA = re.compile(r"\s*[,;|]\s*")
MOST = 0.5  # least fraction of images with several labels that is refused
MANY_NUMBERS = 4  # different labels with decimals that are refused as numbers; fewer may be classes, such as doses
MANY_WHOLE = 10  # different whole numbers that are refused if they have fewer than two images each on average
NAMED = 3  # labels named in a message
IMBALANCED = 3  # classes are imbalanced if the largest has this many times the images of the smallest


def suspicious_labels(counts: Mapping[str, int]) -> list[str]:
    """Return warnings about labels that look like missing values, two spellings, or several labels."""
    sentences = []
    missing = {label: count for label, count in counts.items() if label.strip().lower() in MISSING}
    if missing:
        sentences.append(
            f"labels that look like missing values are classes: {_counted(missing)}; rename them, or remove these"
            " images"
        )
    alike: dict[str, dict[str, int]] = defaultdict(dict)
    for label, count in counts.items():
        alike[_meaning(label)][label] = count
    pairs = [labels for labels in alike.values() if len(labels) > 1]
    if pairs:
        more = f" and {len(pairs) - NAMED} more" if len(pairs) > NAMED else ""
        sentences.append(
            "labels that differ only in spelling are different classes: "
            f"{', '.join(_counted(labels, ' / ') for labels in pairs[:NAMED])}{more}; spell each label in one way"
        )
    mixed = _mixed(counts)
    if mixed:
        sentences.append(
            f"labels that look like several labels per image are separate classes: {_counted(mixed)}; give one label"
            " per image"
        )
    return sentences


def refuse_no_classes(counts: Mapping[str, int], place: str) -> None:
    """Raise DataError for several labels per image, and for numbers to predict.

    ``counts`` are the images of each label, and ``place`` is the file.
    """
    parts = {part for label in counts for part in _labels_in(label, COMMA)}
    between = COMMA if len(parts) < len(counts) else SEVERAL
    several = {label: count for label, count in counts.items() if len(_labels_in(label, between)) > 1}
    if sum(several.values()) >= MOST * max(1, sum(counts.values())):
        raise DataError(
            f"Labels of '{place}' such as '{next(iter(several))}' look like several labels per image, in"
            f" {sum(several.values())} of {sum(counts.values())} rows; use task=multilabel, or give one label per row."
        )
    numbers = [number_of(label) for label in counts]
    several_each = sum(counts.values()) >= 2 * len(counts)
    decimals = [number for number in numbers if number is not None and number % 1]
    many = len(decimals) >= MANY_NUMBERS or (len(numbers) >= MANY_WHOLE and not several_each)
    if many and None not in numbers:
        shown = next((label for label in counts if (number_of(label) or 0) % 1), next(iter(counts)))
        raise DataError(
            f"Labels of '{place}' such as '{shown}' look like"
            f" numbers to predict, {len(numbers)} different values: use task=regression; if they are classes, give them"
            " names that are not numbers."
        )


def conflicting_labels(
    splits: Mapping[str, tuple[Sequence[str], NDArray[Any], Sequence[bytes]]], text: Callable[[Any], str]
) -> str:
    """Return a sentence on images with the same content but different labels, in any splits; "" if there are none.

    Each split gives the names, the targets (N,) and the hashes of its images. ``text`` converts a target to text.
    """
    first: dict[bytes, tuple[str, int]] = {}
    conflicts: dict[bytes, tuple[str, int]] = {}
    for ids, targets, contents in splits.values():
        for name, target, content in zip(ids, targets.tolist(), contents, strict=True):
            if first.setdefault(content, (name, target))[1] != target:
                conflicts.setdefault(content, (name, target))
    if not conflicts:
        return ""
    content, (other, label) = next(iter(conflicts.items()))
    name, target = first[content]
    many = f"{len(conflicts)} images have" if len(conflicts) > 1 else "1 image has"
    return f"{many} the same content under two labels, such as '{name}' ({text(target)}) and '{other}' ({text(label)})"


def absent_classes(splits: Mapping[str, Targets], class_names: Sequence[str]) -> list[str]:
    """Return a sentence for each split that lacks classes; ``splits`` gives the targets (N,) of each."""
    sentences = []
    for name, targets in splits.items():
        absent = np.flatnonzero(np.bincount(targets, minlength=len(class_names)) == 0)
        if len(absent):
            shown = ", ".join(f"'{class_names[label]}'" for label in absent[:NAMED]) + ", ..." * (len(absent) > NAMED)
            sentences.append(
                f"{name} has no image of {len(absent)} of {len(class_names)} classes ({shown}), so its scores do not"
                " include them"
            )
    return sentences


def classes_text(class_names: Sequence[str]) -> str:
    """Return the number of classes and the first names, as text."""
    more = ", ..." if len(class_names) > NAMED else ""
    return f"{len(class_names)} classes ({', '.join(class_names[:NAMED])}{more})"


def sizes_text(class_names: Sequence[str], targets: Targets) -> str:
    """Return the number of training images of the smallest and the largest class."""
    counts = np.bincount(targets, minlength=len(class_names))
    few, most = int(counts.argmin()), int(counts.argmax())
    if counts[few] == counts[most]:
        return f"{images_text(int(counts[few]))} per class in train"
    return f"{counts[few]} ({class_names[few]}) to {counts[most]} ({class_names[most]}) images per class in train"


def is_imbalanced(targets: Targets, classes: int) -> bool:
    """Return whether the largest class has at least three times as many images as the smallest."""
    counts = np.bincount(targets, minlength=classes)
    return bool(counts.max() >= IMBALANCED * max(1, counts.min()))


def _meaning(label: str) -> str:
    """Return a key that is equal for all spellings of a label: the number, or the word without case and punctuation."""
    number = number_of(label)
    if number is not None:
        return f"number {number!r}"
    plain = unicodedata.normalize("NFKC", label).casefold()
    plain = re.sub(r"(?<=\w)[\s_\-]+(?=\w)", " ", plain).strip(" _.,;:'\"`()[]")  # A+ and A- are not alike
    return plain or label


def _mixed(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the labels with several parts, at least one of which is also a label."""
    return {
        label: count
        for label, count in counts.items()
        if len(parts := _labels_in(label)) > 1 and any(part in counts for part in parts)
    }


def _labels_in(label: str, between: re.Pattern[str] = SEVERAL) -> list[str]:
    return [part for part in between.split(label) if part]


def number_of(label: str) -> float | None:
    """Return the number in a label, with a decimal point or comma; None if the label is no number."""
    if not re.fullmatch(r"[+-]?(\d+[.,]?\d*|[.,]\d+)(e[+-]?\d+)?", label.strip().lower()):
        return None
    return float(label.replace(",", "."))


def _counted(labels: Mapping[str, int], between: str = ", ") -> str:
    named = Counter(labels).most_common()[:NAMED]
    more = ", ..." if len(labels) > len(named) else ""
    return between.join(f"'{label}' ({images_text(count)})" for label, count in named) + more
