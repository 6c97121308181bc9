"""List what differs between two runs: settings, seeds, code, data, weights, packages, hardware, results."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.boundary.opening import MB, open_inside
from headstart.boundary.tables import MOST_PREDICTIONS
from headstart.errors import DataError
from headstart.kinds import Kind, Metric, SeveralKind, is_share, kind_of, metric_of
from headstart.kinds.class_predictions import ClassPredictions
from headstart.kinds.label_predictions import LabelImagePredictions
from headstart.kinds.label_set_predictions import LabelSetPredictions
from headstart.kinds.number_predictions import NumberPredictions
from headstart.kinds.several_predictions import SeveralPredictions
from headstart.records.names import TEST_PREDICTIONS
from headstart.records.predictions import read_predictions
from headstart.records.record import RunRecord
from headstart.settings.effects import is_indifferent, is_seed
from headstart.statistics import paired_both

ABSENT = "–"  # stands for a value that only the other run has
NO_EFFECT = "does not affect the result"
LAST_BITS = "may change the last bits"
BITS = frozenset({"processor", "threads", "gpus", "cuda", "cudnn"})  # entries of hardware with this note


@dataclass(frozen=True)
class DiffRow:
    """One value that differs."""

    name: str
    a: Any
    b: Any
    note: str = ""
    """A note on the row, e.g. that it does not affect the result."""


@dataclass(frozen=True)
class DiffSection:
    """The comparison of one kind of values."""

    title: str
    rows: tuple[DiffRow, ...] = ()
    """What differs."""
    equal: bool | None = True
    """Whether all that affects the result is equal; None if that was not recorded."""
    summary: str = ""
    """What both runs share, or why that is unknown."""
    notes: tuple[str, ...] = ()
    """Sentences to print below the rows."""


@dataclass(frozen=True)
class ErrorPairs:
    """Two files of predicted numbers for the same N images, compared image by image."""

    errors_a: NDArray[np.float64]
    """(N,) the score of each image."""
    errors_b: NDArray[np.float64]
    changed: int
    """The number of images with different predictions."""
    largest: float
    """The largest difference of two predictions."""

    @property
    def images(self) -> int:
        """Return the number of images."""
        return len(self.errors_a)

    @property
    def difference(self) -> float:
        """Return the mean score of the second minus that of the first."""
        return float(np.mean(self.errors_b) - np.mean(self.errors_a))

    @cached_property
    def interval(self) -> tuple[float, float]:
        """Return the paired 95 % interval of the difference over test images; NaN if all differ by the same amount."""
        if self.images < 2:
            return math.nan, math.nan
        found = paired_both(self.errors_b[None], self.errors_a[None], resamples=0)
        return found.low, found.high


@dataclass(frozen=True)
class ClassPairs:
    """Two files of predicted classes for the same N images, compared image by image."""

    images: int
    changed: int
    """The number of images with different predicted classes."""
    only_a: int
    """The number of images that only the first predicts right."""
    only_b: int
    largest: float | None = None
    """The largest difference of a probability; None if the files have different classes."""

    @property
    def difference(self) -> float:
        """Return the accuracy of the second minus that of the first, as a fraction of 1."""
        return (self.only_b - self.only_a) / self.images

    @cached_property
    def p_value(self) -> float:
        """Return the p-value of McNemar's exact test on the images that only one of the two predicts right."""
        from scipy.stats import binomtest

        discordant = self.only_a + self.only_b
        return float(binomtest(self.only_a, discordant, 0.5).pvalue) if discordant else 1.0

    @property
    def interval(self) -> tuple[float, float]:
        """Return the paired 95 % interval of the difference over test images.

        Wald's interval with half an image added to each of the four cells: Agresti and Min, "Simple improved
        confidence intervals for comparing matched proportions", Statistics in Medicine 24 (2005).
        """
        count = self.images + 2
        centre = (self.only_b - self.only_a) / count
        variance = ((self.only_a + self.only_b + 1) / count - centre**2) / count
        reach = 1.959964 * math.sqrt(variance)
        return centre - reach, centre + reach


def compare_predictions(a: Path, b: Path, kind: Kind, metric: Metric) -> ClassPairs | ErrorPairs:
    """Compare two files image by image, by their scores for a metric.

    Of several outputs, the primary one is compared. Raises DataError if one cannot be read, if they list different
    images, or if images have no such scores.
    """
    first = read_predictions(a, kind)
    same = same_bytes(a, b)
    second = first if same else read_predictions(b, kind)
    order = {name: position for position, name in enumerate(second.ids)}
    if len(first.ids) != len(second.ids) or order.keys() != set(first.ids):
        common = len(order.keys() & set(first.ids))
        raise DataError(
            f"the files {a.name} list different images: {len(first.ids)} and {len(second.ids)}, {common} in common"
        )
    at = np.arange(len(first.ids)) if same else np.array([order[name] for name in first.ids])
    if isinstance(first, SeveralPredictions) and isinstance(second, SeveralPredictions):
        first, second = (of.parts[of.primary] for of in (first, second))
    if isinstance(kind, SeveralKind):
        kind = kind.decisive
    if isinstance(first, ClassPredictions) and isinstance(second, ClassPredictions):
        return _class_pairs(first, second, at, a.name)
    assert isinstance(first, NumberPredictions | LabelSetPredictions | LabelImagePredictions)
    assert isinstance(second, NumberPredictions | LabelSetPredictions | LabelImagePredictions)
    if first.targets.shape != second.targets.shape or (first.targets != second.targets[at]).any():
        raise DataError(f"{a.name} lists the same images with different targets")
    scores, others = (kind.per_image(of, metric.name) for of in (first, second))
    if scores is None or others is None:
        raise DataError(f"{a.name} gives no {metric.words} for single images")
    gaps = np.abs(first.values - second.values[at]).reshape(len(at), -1).max(axis=1)
    return ErrorPairs(scores, others[at], int((gaps > 0).sum()), float(gaps.max()))


def _class_pairs(first: ClassPredictions, second: ClassPredictions, at: NDArray[np.int64], name: str) -> ClassPairs:
    """Compare classes; image ``i`` of the first is image ``at[i]`` of the second."""
    names_a, names_b = np.array(first.classes), np.array(second.classes)
    if (names_a[first.targets] != names_b[second.targets[at]]).any():
        raise DataError(f"{name} lists the same images with different targets")
    right_a, right_b = first.correct, second.correct[at]
    same_columns = list(first.classes) == list(second.classes)
    return ClassPairs(
        images=len(at),
        changed=int((names_a[first.predicted] != names_b[second.predicted[at]]).sum()),
        only_a=int((right_a & ~right_b).sum()),
        only_b=int((right_b & ~right_a).sum()),
        largest=float(np.abs(first.probabilities - second.probabilities[at]).max()) if same_columns else None,
    )


def same_bytes(a: Path, b: Path) -> bool:
    """Return whether both files exist and are equal."""
    try:
        with (
            open_inside(a.parent, a.name, MOST_PREDICTIONS) as first,
            open_inside(b.parent, b.name, MOST_PREDICTIONS) as second,
        ):
            if os.fstat(first.fileno()).st_size != os.fstat(second.fileno()).st_size:
                return False
            while (part := first.read(MB)) == second.read(MB):
                if not part:
                    return True
    except (OSError, DataError):
        pass
    return False


def differences(a: RunRecord, b: RunRecord) -> list[DiffSection]:
    """Return a section for each kind of difference between two runs; the results come last."""
    return [*circumstances(a, b), compare_results(a, b)]


def circumstances(a: RunRecord, b: RunRecord) -> list[DiffSection]:
    """Return the sections on what determines the results of two runs."""
    weights = compare_weights(a, b)
    return [
        compare_settings(a, b, weights),
        compare_seeds(a, b),
        compare_code(a, b),
        compare_data(a, b),
        weights,
        compare_packages(a, b),
        compare_hardware(a, b),
    ]


def compare_settings(a: RunRecord, b: RunRecord, weights: DiffSection) -> DiffSection:
    """Compare config.yaml without the seeds, by dotted key; if one is missing, compare the hashes."""
    if unknown := _without_config(a, b):
        same = _hash(a) is not None and _hash(a) == _hash(b)
        return DiffSection("settings", equal=same or None, summary="by their hash" if same else unknown)
    rows = []
    for row in _changed(a.config, b.config):
        same_weights = row.name == "backbone.weights" and weights.equal and a.get("provenance", "weights", "sha256")
        if is_indifferent(row.name) or same_weights:
            row = replace(row, note=NO_EFFECT)
        if not is_seed(row.name):
            rows.append(row)
    if a.augmentation != b.augmentation and not any(row.name.startswith("augmentation") for row in rows):
        rows.append(DiffRow("augmentation, in order", a.augmentation, b.augmentation))
    count = sum(not is_seed(key) for key in a.config.keys() | b.config.keys())
    return DiffSection("settings", tuple(rows), not _affecting(rows), f"all {count}")


def compare_seeds(a: RunRecord, b: RunRecord) -> DiffSection:
    """Compare the seed, its streams, and seeds of single parts."""
    if unknown := _without_config(a, b):
        same = _hash(a) is not None and _hash(a) == _hash(b)
        rows = [DiffRow("seed", a.get("seed"), b.get("seed"))] if a.get("seed") != b.get("seed") else []
        return DiffSection("seeds", tuple(rows), same or None, "by the hash of the settings" if same else unknown)
    found = [row for row in _changed(a.config, b.config) if is_seed(row.name)]
    streams = [row for row in found if row.name.startswith("seeds.")]
    listed = {_plain([row.a, row.b]) for row in streams}
    parts = [row for row in found if row.name != "seed" and row not in streams and _plain([row.a, row.b]) not in listed]
    rows = [row for row in found if row.name == "seed"] + streams + parts
    if rows and not streams and not parts:
        rows = [replace(rows[0], note=f"{NO_EFFECT}: each stream has its own seed")]
    return DiffSection("seeds", tuple(rows), not _affecting(rows), f"seed {a.config.get('seed')} and all its streams")


def _own_code(record: RunRecord) -> object:
    return record.get("provenance", "own_code")


def compare_code(a: RunRecord, b: RunRecord) -> DiffSection:
    """Compare commit, later changes and source; if both runs hashed the source, only the hash decides."""
    names = ("git_commit", "git_dirty", "git_diff_sha256", "source_sha256")
    of_a, of_b = ({name: record.get("provenance", name) for name in names} for record in (a, b))
    source_a, source_b = of_a["source_sha256"], of_b["source_sha256"]
    hashed, commits = source_a and source_b, of_a["git_commit"] and of_b["git_commit"]
    rows = [row for row in _changed(of_a, of_b) if hashed or row.name != "source_sha256"]
    own_a, own_b = (found if isinstance(found, Mapping) else {} for found in map(_own_code, (a, b)))
    own = [replace(row, name=f"own_code.{row.name}") for row in _changed(own_a, own_b)]
    if hashed:
        equal: bool | None = source_a == source_b and not own
        rows = [*(replace(row, note=NO_EFFECT) if source_a == source_b else row for row in rows), *own]
    elif commits and of_a["git_commit"] != of_b["git_commit"]:
        equal = False
    elif commits and (of_a["git_diff_sha256"] or not of_a["git_dirty"]):
        equal = not rows
    else:
        return DiffSection("code", tuple(rows), None, "no clean commit and no source hash in both")
    commit = of_a["git_commit"] or (source_a or "")
    source = f"{'commit' if of_a['git_commit'] else 'source'} {commit[:12]}"
    return DiffSection("code", tuple(rows), equal, f"{source}, with the same changes" if of_a["git_dirty"] else source)


def compare_data(a: RunRecord, b: RunRecord) -> DiffSection:
    """Compare fingerprints of all data and of each split, numbers of images, classes, and unreadable images."""
    of_a, of_b = (record.get("provenance", "dataset_fingerprint") for record in (a, b))
    rows = [DiffRow("dataset_fingerprint", of_a, of_b)] if of_a != of_b else []
    for name in ("split_fingerprints", "pictures"):
        first, second = (
            record.get("provenance", name) if name.startswith("split") else record.get(name) for record in (a, b)
        )
        if isinstance(first, Mapping) and isinstance(second, Mapping):
            rows += [replace(row, name=f"{name}.{row.name}") for row in _changed(first, second)]
    for name in ("classes", "skipped"):
        lists = [record.get(name) for record in (a, b)]
        if all(isinstance(entries, Sequence) for entries in lists) and lists[0] != lists[1]:
            rows.append(_listed(name, *lists))
    if not (of_a and of_b):
        return DiffSection("data", tuple(rows), None, _missing("no data were read", a, b, bool(of_a), bool(of_b)))
    images = a.get("pictures") or {}
    counts = ", ".join(f"{count} {split}" for split, count in images.items()) if isinstance(images, Mapping) else ""
    return DiffSection("data", tuple(rows), of_a == of_b, f"{of_a[:12]}{f': {counts} images' if counts else ''}")


def compare_weights(a: RunRecord, b: RunRecord) -> DiffSection:
    """Compare name and content of the weights from which the backbone started."""
    first, second = (record.get("provenance", "weights") for record in (a, b))
    loaded = [bool(record.get("provenance", "dataset_fingerprint")) for record in (a, b)]  # read at the same time
    if not isinstance(first, Mapping) or not isinstance(second, Mapping) or not all(loaded):
        return DiffSection("weights", (), None, _missing("no weights were read", a, b, *loaded))
    names = ("name", "sha256", "matched")
    rows = _changed({name: first.get(name) for name in names}, {name: second.get(name) for name in names})
    equal = first.get("sha256") == second.get("sha256") and first.get("matched") == second.get("matched")
    if first.get("sha256") is None and second.get("sha256") is None and first.get("name") != second.get("name"):
        return DiffSection("weights", tuple(rows), None, "no hash of the weights")
    if equal:
        rows = [replace(row, note=NO_EFFECT) for row in rows]
    return DiffSection("weights", tuple(rows), equal, str(first.get("name") or "random, from the seed"))


def compare_packages(a: RunRecord, b: RunRecord) -> DiffSection:
    """Compare versions of Python and of the packages that can change results."""
    first, second = (record.get("provenance", "packages") for record in (a, b))
    if not first or not second or not isinstance(first, Mapping) or not isinstance(second, Mapping):
        return DiffSection("packages", (), None, _missing("no versions", a, b, bool(first), bool(second)))
    rows = _changed(first, second)
    return DiffSection("packages", tuple(rows), not rows, f"all {len(first)}")


def compare_hardware(a: RunRecord, b: RunRecord) -> DiffSection:
    """Compare processor, threads, accelerators and the engine of features; they should change only rounding."""
    first, second = (record.get("provenance", "hardware") for record in (a, b))
    if not first or not second or not isinstance(first, Mapping) or not isinstance(second, Mapping):
        return DiffSection("hardware", (), None, _missing("no hardware", a, b, bool(first), bool(second)))
    rows = [replace(row, note=LAST_BITS if row.name in BITS else NO_EFFECT) for row in _changed(first, second)]
    engines = [record.get("features", "engine") for record in (a, b)]
    if all(engines) and engines[0] != engines[1]:
        rows.append(DiffRow("engine of the features", engines[0], engines[1], LAST_BITS))
    return DiffSection("hardware", tuple(rows), not _affecting(rows), str(first.get("processor")))


def compare_results(a: RunRecord, b: RunRecord) -> DiffSection:
    """Compare metrics, the chosen epoch or setting, and the predictions for each test image."""
    if not (a.finished and b.finished):
        unfinished = " and ".join(
            f"{name} is {record.get('status')}" for name, record in (("A", a), ("B", b)) if not record.finished
        )
        return DiffSection("results", (), None, unfinished)
    rows = [replace(row, note=difference_text(row.name, row.a, row.b)) for row in _changed(a.metrics, b.metrics)]
    epochs = [_counted_from_1(record.get("best_epoch")) for record in (a, b)]
    rules = [record.get("selection", "rule") for record in (a, b)]
    for name, (first, second) in (("best epoch", epochs), ("selected", rules)):
        if first != second:
            rows.append(DiffRow(name, first, second))
    files = [record.directory / TEST_PREDICTIONS for record in (a, b)]
    try:
        kind = kind_of(a.content)
        if a.task != b.task:
            raise DataError(f"the task of A is {a.task}, that of B {b.task}")
        pairs = compare_predictions(files[0], files[1], kind, metric_of(a.content))
    except DataError as error:
        there = all(file.is_file() for file in files)
        note = f"Predictions cannot be compared: {error}."
        return DiffSection("results", tuple(rows), False if rows or there else None, "predictions are missing", (note,))
    equal = not rows and same_bytes(*files)
    notes = () if equal else (pairs_text(pairs, metric_of(a.content)),)
    return DiffSection("results", tuple(rows), equal, f"every metric, and predictions for {pairs.images} images", notes)


def _counted_from_1(epoch: Any) -> Any:
    """Return the number of an epoch as a run prints it; anything but a whole number as it is."""
    return epoch + 1 if isinstance(epoch, int) and not isinstance(epoch, bool) else epoch


def difference_text(name: str, a: Any, b: Any) -> str:
    """Return B minus A as text: points for shares, else a number."""
    if not isinstance(a, float) or not isinstance(b, float):
        return ""
    return f"{100 * (b - a):+.2f} points" if is_share(name) else f"{b - a:+.4g}"


def pairs_text(pairs: ClassPairs | ErrorPairs, metric: Metric, names: tuple[str, str] = ("in A", "in B")) -> str:
    """Return one sentence that compares two files of predictions."""
    if isinstance(pairs, ErrorPairs):
        return _errors_text(pairs, metric)
    if not pairs.changed:
        largest = "" if pairs.largest is None else f", and no probability moves by more than {pairs.largest:.2g}"
        return f"All {pairs.images} test images are predicted the same{largest}."
    low, high = (100 * end for end in pairs.interval)
    return (
        f"{pairs.changed} of {pairs.images} test images are predicted differently; {pairs.only_a} are right only"
        f" {names[0]}, {pairs.only_b} only {names[1]} (exact McNemar p = {pairs.p_value:.2g}):"
        f" {100 * pairs.difference:+.2f} points, 95 % interval {low:+.2f} to {high:+.2f} over test images."
    )


def _errors_text(pairs: ErrorPairs, metric: Metric) -> str:
    """Return the sentence where predictions are numbers."""
    if not pairs.changed:
        return f"All {pairs.images} test images are predicted the same."
    text = (
        f"{pairs.changed} of {pairs.images} test images are predicted differently, by {pairs.largest:.3g} at most:"
        f" test {metric.words} {metric.exact_difference(pairs.difference)}"
    )
    if math.isnan(pairs.interval[0]):
        return f"{text}."
    low, high = (metric.exact_difference(end) for end in pairs.interval)
    return f"{text}, 95 % interval {low} to {high} over test images."


def conclusion(sections: Sequence[DiffSection]) -> str:
    """Return one sentence: whether the results should be equal, and whether they are."""
    causes = {section.title: section for section in sections}
    results, hardware = causes.pop("results"), causes.pop("hardware")
    different = [title for title, section in causes.items() if section.equal is False]
    unknown = [title for title, section in causes.items() if section.equal is None]
    if different:
        should = f"The results may differ, as {_and(different)} {_differ(different)}"
    elif unknown:
        should = f"It is unknown whether the results should be equal (not recorded: {_and(unknown)})"
    elif any(row.note == LAST_BITS for row in hardware.rows):
        should = "The results should be equal except for rounding, as only the hardware differs"
    else:
        should = "The results should be equal"
    if results.equal is None:
        return f"{should}; it is unknown whether they are, as {results.summary}."
    state = "they are equal" if results.equal else "they differ"
    if unknown and not different:
        return f"{should}; {state}."
    if results.equal == bool(different):
        return f"{should}, but {state}."
    return f"{should}, and they {'are' if results.equal else 'do'}."


def _changed(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[DiffRow]:
    """Return a row for each key whose values differ, in the order of the first mapping, then of the second."""
    keys = [*a, *(key for key in b if key not in a)]
    pairs = ((str(key), a.get(key, ABSENT), b.get(key, ABSENT)) for key in keys)
    return [DiffRow(*pair) for pair in pairs if _plain(pair[1]) != _plain(pair[2])]


def _plain(value: Any) -> str:
    return json.dumps(value, default=str, sort_keys=True)


def _affecting(rows: Sequence[DiffRow]) -> list[DiffRow]:
    return [row for row in rows if not row.note.startswith((NO_EFFECT, LAST_BITS))]


def _hash(record: RunRecord) -> str | None:
    found = record.get("config_hash")
    return found if isinstance(found, str) else None


def _without_config(a: RunRecord, b: RunRecord) -> str:
    return "" if a.config and b.config else _missing("no readable config.yaml", a, b, bool(a.config), bool(b.config))


def _missing(what: str, a: RunRecord, b: RunRecord, in_a: bool, in_b: bool) -> str:
    """Return what is missing, with the names of the runs that lack it."""
    names = [name for name, there in (("A", in_a), ("B", in_b)) if not there]
    return f"{what} in {' and '.join(names)}"


def _listed(name: str, a: Sequence[Any], b: Sequence[Any]) -> DiffRow:
    """Compare two lists: their lengths, and the first few entries that only one of them has."""
    in_a, in_b = ({_plain(entry) for entry in entries} for entries in (a, b))
    only_a, only_b = [entry for entry in a if _plain(entry) not in in_b], [e for e in b if _plain(e) not in in_a]
    note = "" if only_a or only_b else "in a different order"
    return DiffRow(name, f"{len(a)}{_few(only_a)}", f"{len(b)}{_few(only_b)}", note)


def _few(names: Sequence[Any], limit: int = 3) -> str:
    shown = ", ".join(str(name) for name in names[:limit])
    return f", with {shown}{', …' if len(names) > limit else ''}" if names else ""


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def _differ(names: Sequence[str]) -> str:
    plural = len(names) > 1 or names[0] in ("settings", "seeds", "weights", "packages", "data")
    return "differ" if plural else "differs"


def described(sections: Sequence[DiffSection]) -> Iterator[tuple[DiffSection, str]]:
    """Yield each section with its heading: what differs, is the same, or is unknown."""
    for section in sections:
        if section.equal is None:
            yield section, f"{section.title}: unknown ({section.summary})"
        elif section.rows or section.notes:
            affects = section.title == "results" or _affecting(section.rows)
            yield section, f"{section.title}{'' if affects else ', no effect on the result'}"
        else:
            yield section, f"the same: {section.title} ({section.summary})"
