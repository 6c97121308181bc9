"""Describe a trained network: how it is built, what enters it, what its outputs mean. Loads no torch."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from headstart.boundary.documents import read_json
from headstart.boundary.opening import is_inside, unreadable
from headstart.errors import DataError
from headstart.files import hint_beside, write_atomically
from headstart.records.names import BEST_CHECKPOINT, CHECKPOINT_FOLDER, MODEL_FILE, MODEL_TENSORS, RUN_FILE
from headstart.records.runs import Run, read_run

FORMAT, VERSION = "headstart model", 1
LARGEST_IMAGE = 4096  # pixels of a side; a larger one would take the memory before anything can be checked
MOST_CLASSES, MOST_PARTS, MOST_SCORES = 100_000, 64, 2001
LONGEST_NAME, LONGEST_TEXT = 1000, 4000
BUILDER = re.compile(r"[A-Za-z_]\w{0,99}(\.[A-Za-z_]\w{0,99}){0,9}")
PARTS = ("backbone", "strategy", "head", "task")  # of a network
ENGINES = ("torch", "onnxruntime", "compile")
WEIGHT_FILES = (BEST_CHECKPOINT, MODEL_TENSORS)


@dataclass(frozen=True)
class BuiltPart:
    """A part of a network: the name of its builder, and the builder's settings."""

    builder: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class ModelInput:
    """What enters the network: how files are decoded, and how the values are normalised.

    ``decoder`` is a builder, like those of the network, with its settings: short side, resize, interpolation, enlarge,
    pixel range. ``mean`` and ``std`` are those of values scaled to [0, 1], one for each channel of the weights' source.
    """

    decoder: BuiltPart
    image_size: int  # pixels, the side of the square after the centre crop
    crop_fraction: float
    interpolation: str
    mean: Sequence[float]
    std: Sequence[float]
    kind: str  # as in the signature of the data
    channels: int
    low: float
    high: float
    dtype: str
    views: bool
    decoding_rules: int  # the version of decoding when the run was made


@dataclass(frozen=True)
class ModelOutput:
    """What the outputs mean. ``parts`` has the kind of each of several outputs; their names begin the class names."""

    task: str
    names: Sequence[str]  # of classes, labels or numbers; "" where the only number has no name
    parts: Mapping[str, str]
    primary: Mapping[str, Any]  # name, unit, higher_is_better, and part for several outputs


@dataclass(frozen=True)
class Inference:
    """How the run computed its predictions of test images; the same way gives the same bits."""

    precision: str
    batch_norm: str
    test_views: str | None
    averaged_views: int | None
    batch_size: int
    engine: str | None  # of the frozen part; None where images pass through the whole network
    prefix: int  # the number of frozen stages that the engine runs


@dataclass(frozen=True)
class OutputCalibration:
    """What validation says about the outputs.

    ``temperature`` divides the logits of classes. ``thresholds`` are those of labels. ``scores`` are the sorted scores
    of validation images for prediction sets: 1 minus the probability of the true class, or absolute errors by number.
    ``images`` is how many images gave them.
    """

    temperature: float | None = None
    thresholds: Sequence[float] = ()
    scores: Sequence[Sequence[float]] = ()
    images: int = 0


@dataclass(frozen=True)
class Unlike:
    """How far the features of validation images are from those of training images, as ``distances``, sorted.

    The distance is that to the neighbour number ``neighbours``, of ``images`` training images: 1 minus the cosine.
    """

    neighbours: int
    threshold: float
    images: int
    distances: Sequence[float]


@dataclass(frozen=True)
class ModelDescription:
    """Everything that is needed to use a trained network, besides its tensors."""

    network: Mapping[str, BuiltPart]
    given: Mapping[str, Any]  # what the training data determined of the task
    chosen: Mapping[str, float]  # settings that training chose, such as the number of neighbours
    input: ModelInput
    output: ModelOutput
    inference: Inference
    weights: Mapping[str, str]  # file, sha256
    calibration: Mapping[str, OutputCalibration] = field(default_factory=dict)  # by output; "" for the only one
    unlike: Unlike | None = None
    training: Mapping[str, Any] = field(default_factory=dict)  # run, strategy, data, metrics: for people

    def text(self) -> str:
        """Return the content of model.json."""
        content = _finite({"format": FORMAT, "version": VERSION, **asdict(self)})
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def write(self, folder: Path) -> None:
        """Write model.json to a folder, atomically."""
        write_atomically(folder / MODEL_FILE, self.text())


def _finite(value: Any) -> Any:
    """Return nested lists and mappings with null for numbers that JSON lacks: NaN and infinity."""
    if isinstance(value, Mapping):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def model_folder(path: Path) -> Path:
    """Return the folder with the model.json of a run or a model. Raises DataError if there is none."""
    if path.name in (MODEL_FILE, MODEL_TENSORS, BEST_CHECKPOINT, RUN_FILE) and path.is_file():
        path = path.parent
    for folder in (path, path / CHECKPOINT_FOLDER):
        if is_inside(folder, MODEL_FILE):
            return folder
    if not path.exists():
        raise DataError(f"There is no run or model '{path}'.{hint_beside(path)}")
    if is_inside(path, RUN_FILE):
        found = read_run(path)
        why = found.weights_only if isinstance(found, Run) else ""
        raise DataError(
            f"'{path}' has no {MODEL_FILE}:"
            f" {why or 'the run is unfinished, or older than this file; finish or repeat the run'}."
        )
    raise DataError(f"'{path}' is no run and no model: it has no {MODEL_FILE}.")


def read_description(folder: Path) -> ModelDescription:
    """Read and check model.json of a folder. Raises DataError, in one sentence, if it is missing or damaged."""
    return description_of(read_json(folder, MODEL_FILE))


def description_of(content: Any) -> ModelDescription:
    """Return the description that the content of a model.json gives. Raises DataError for a wrong one."""
    entry = CheckedEntry(content, "")
    if entry.value.get("format") != FORMAT:
        raise unreadable(MODEL_FILE, "it does not describe a model of headstart")
    version = entry.value.get("version")
    if version != VERSION:
        raise unreadable(MODEL_FILE, f"it has version {str(version)[:20]}, and this headstart reads {VERSION}")
    network = entry.below("network")
    output = _output(entry.below("output"))
    return ModelDescription(
        network={name: _part(network.below(name)) for name in PARTS if name != "head" or name in network.value},
        given=entry.mapping("given"),
        chosen={name: entry.below("chosen").number(name) for name in entry.mapping("chosen")},
        input=_input(entry.below("input")),
        output=output,
        inference=_inference(entry.below("inference")),
        weights=_weights(entry.below("weights")),
        calibration={
            name: _calibration(entry.below("calibration").below(name), output)
            for name in entry.mapping("calibration", MOST_PARTS)
        },
        unlike=None if entry.value.get("unlike") is None else _unlike(entry.below("unlike")),
        training=entry.mapping("training"),
    )


class CheckedEntry:
    """A mapping of model.json that is read value by value; each check names the key."""

    def __init__(self, value: Any, key: str) -> None:
        if not isinstance(value, dict):
            raise unreadable(MODEL_FILE, f"{key or 'its content'} is not a mapping")
        self.value, self.key = value, key

    def wrong(self, name: str, expected: str) -> DataError:
        """Return the error for a value."""
        place = f"{self.key}.{name}" if self.key else name
        shown = repr(self.value.get(name))[:40]
        return unreadable(MODEL_FILE, f"{place} is {shown}, expected {expected}")

    def below(self, name: str) -> "CheckedEntry":
        """Return a mapping in this one."""
        return CheckedEntry(self.value.get(name), f"{self.key}.{name}" if self.key else name)

    def mapping(self, name: str, most: int = 10_000) -> dict[str, Any]:
        """Return a mapping as it is."""
        found = self.value.get(name)
        if not isinstance(found, dict) or len(found) > most:
            raise self.wrong(name, f"a mapping of at most {most:,} entries")
        return found

    def text(self, name: str, most: int = LONGEST_NAME) -> str:
        """Return a text."""
        found = self.value.get(name)
        if not isinstance(found, str) or len(found) > most:
            raise self.wrong(name, f"a text of at most {most:,} characters")
        return found

    def one_of(self, name: str, *choices: Any) -> Any:
        """Return one of these values."""
        found = self.value.get(name)
        if isinstance(found, dict | list) or not any(found is one or found == one for one in choices):
            raise self.wrong(name, f"one of {', '.join(map(str, choices))}")
        return found

    def whole(self, name: str, least: int, most: int) -> int:
        """Return a whole number."""
        found = self.value.get(name)
        if not isinstance(found, int) or isinstance(found, bool) or not least <= found <= most:
            raise self.wrong(name, f"a whole number from {least:,} to {most:,}")
        return found

    def number(self, name: str, least: float = -math.inf, most: float = math.inf) -> float:
        """Return a finite number."""
        found: Any = self.value.get(name)
        if not _is_number(found) or not least <= found <= most:
            raise self.wrong(name, f"a number from {least:g} to {most:g}")
        return float(found)

    def texts(self, name: str, most: int) -> list[str]:
        """Return a list of texts, all different."""
        found: Any = self.value.get(name)
        right = isinstance(found, list) and len(found) <= most
        if not right or not all(isinstance(one, str) and len(one) <= LONGEST_NAME for one in found):
            raise self.wrong(name, f"a list of at most {most:,} names")
        if len(set(found)) != len(found):
            raise self.wrong(name, "names that are all different")
        return list(found)

    def numbers(self, name: str, most: int) -> list[float]:
        """Return a list of finite numbers."""
        return _numbers(self.value.get(name), most, lambda: self.wrong(name, f"at most {most:,} numbers"))

    def sorted(self, name: str, most: int) -> list[float]:
        """Return a list of finite numbers in rising order."""
        found = self.numbers(name, most)
        if any(after < before for before, after in zip(found, found[1:], strict=False)):
            raise self.wrong(name, "numbers in rising order")
        return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _numbers(found: Any, most: int, error: Any) -> list[float]:
    if not isinstance(found, list) or len(found) > most or not all(map(_is_number, found)):
        raise error()
    return [float(one) for one in found]


def _part(entry: CheckedEntry) -> BuiltPart:
    builder = entry.text("builder")
    if not BUILDER.fullmatch(builder):
        raise entry.wrong("builder", "the name of a builder")
    settings = entry.mapping("settings")
    if not all(name.isidentifier() for name in settings):
        raise entry.wrong("settings", "names of parameters")
    return BuiltPart(builder, settings)


def _input(entry: CheckedEntry) -> ModelInput:
    mean, std = entry.numbers("mean", 256), entry.numbers("std", 256)
    if not mean or len(mean) != len(std) or min(std) <= 0:
        raise entry.wrong("std", "as many numbers above 0 as there are means")
    low, high = entry.number("low"), entry.number("high")
    if not low < high:
        raise entry.wrong("high", "a number above low")
    return ModelInput(
        decoder=_part(entry.below("decoder")),
        image_size=entry.whole("image_size", 1, LARGEST_IMAGE),
        crop_fraction=entry.number("crop_fraction", 0.01, 10),
        interpolation=entry.one_of("interpolation", "bilinear", "bicubic"),
        mean=mean,
        std=std,
        kind=entry.text("kind"),
        channels=entry.whole("channels", 1, 4096),
        low=low,
        high=high,
        dtype=entry.one_of("dtype", "uint8", "uint16", "int16", "int32", "float16", "float32", "float64"),
        views=entry.one_of("views", True, False),
        decoding_rules=entry.whole("decoding_rules", 0, 10**6),
    )


def _output(entry: CheckedEntry) -> ModelOutput:
    names = entry.texts("names", MOST_CLASSES)
    parts = entry.mapping("parts", MOST_PARTS)
    if not names or not all(isinstance(kind, str) and len(kind) <= LONGEST_NAME for kind in parts.values()):
        raise entry.wrong("names", "one name or more, and a kind for each output")
    return ModelOutput(entry.text("task"), names, parts, entry.mapping("primary"))


def _inference(entry: CheckedEntry) -> Inference:
    return Inference(
        precision=entry.text("precision", 40),
        batch_norm=entry.text("batch_norm", 40),
        test_views=entry.one_of("test_views", None, "flip", "five_crop", "ten_crop"),
        averaged_views=None if entry.value.get("averaged_views") is None else entry.whole("averaged_views", 1, 10**6),
        batch_size=entry.whole("batch_size", 1, 2**20),
        engine=entry.one_of("engine", None, *ENGINES),
        prefix=entry.whole("prefix", 0, 1000),
    )


def _weights(entry: CheckedEntry) -> dict[str, str]:
    sha256 = entry.text("sha256")
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise entry.wrong("sha256", "64 hexadecimal digits")
    return {"file": entry.one_of("file", *WEIGHT_FILES), "sha256": sha256}


def _calibration(entry: CheckedEntry, output: ModelOutput) -> OutputCalibration:
    thresholds = entry.numbers("thresholds", len(output.names))
    scores = entry.value.get("scores")
    if not isinstance(scores, list) or len(scores) > len(output.names):
        raise entry.wrong("scores", "lists of numbers")
    lists = [CheckedEntry({"scores": one}, entry.key).sorted("scores", MOST_SCORES) for one in scores]
    temperature = None if entry.value.get("temperature") is None else entry.number("temperature", 1e-6, 1e6)
    return OutputCalibration(temperature, thresholds, lists, entry.whole("images", 0, 2**40))


def _unlike(entry: CheckedEntry) -> Unlike:
    distances = entry.sorted("distances", MOST_SCORES)
    return Unlike(
        entry.whole("neighbours", 1, 1000),
        entry.number("threshold", 0, 2.001),
        entry.whole("images", 1, 100_000),
        distances,
    )


def shortened(values: Sequence[float], most: int = MOST_SCORES) -> list[float]:
    """Return at most ``most`` of the sorted values, evenly spaced by rank, with the first and the last."""
    ordered = sorted(map(float, values))
    if len(ordered) <= most:
        return ordered
    return [ordered[math.ceil(place * (len(ordered) - 1) / (most - 1))] for place in range(most)]
