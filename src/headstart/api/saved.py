"""Runs on disk as objects: metrics, curves, predictions, and the trained network."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from headstart.api.guarding import in_one_sentence
from headstart.errors import DataError
from headstart.files import expanded
from headstart.kinds import Predictions, kind_of
from headstart.kinds.class_predictions import ClassPredictions
from headstart.kinds.label_set_predictions import LabelSetPredictions
from headstart.kinds.several_predictions import SeveralPredictions
from headstart.records.finding import find_run_directories
from headstart.records.keys import BASE_KEYS, value_of, varying_keys
from headstart.records.names import TEST_PREDICTIONS, VALIDATION_PREDICTIONS
from headstart.records.predictions import read_predictions
from headstart.records.record import RunRecord, finite_numbers, read_record, record_of
from headstart.records.runs import Run, is_cost, run_order
from headstart.targets.several import SEPARATOR

if TYPE_CHECKING:
    import pandas as pd

    from headstart.api.predicting import UsableModel

FILES = {"test": TEST_PREDICTIONS, "validation": VALIDATION_PREDICTIONS}
COSTS = ("train_seconds", "trainable_parameters")
Place = str | Path


class SavedRun:
    """A run directory, read when the object is made. The run may be unfinished, or have failed: see ``status``."""

    def __init__(self, record: RunRecord) -> None:
        self.record = record

    @property
    def directory(self) -> Path:
        """Return the run directory."""
        return self.record.directory

    @property
    def id(self) -> str:
        """Return the id, which depends on everything that determines the result."""
        return self.record.id

    @property
    def status(self) -> str:
        """Return "finished", "failed", "interrupted", "pruned", "running" or "damaged"."""
        return self.record.status

    @property
    def title(self) -> str:
        """Return "linear_probe of resnet18 on digits, seed 0"."""
        return self.record.title

    @property
    def metrics(self) -> dict[str, float]:
        """Return the metrics by name, such as "test/accuracy"; shares are fractions of 1."""
        return dict(self.record.metrics)

    @property
    def config(self) -> dict[str, Any]:
        """Return all settings by dotted key, such as "optimizer.lr"."""
        return dict(self.record.config)

    @in_one_sentence
    def curve(self) -> pd.DataFrame:
        """Return metrics.csv: a row an epoch, or a row for each setting that a solved head tried."""
        try:
            return Run(self.directory, self.record.content).read_curve().copy()
        except DataError as error:
            raise self._unreadable(error) from None

    @in_one_sentence
    def predictions(self, split: Literal["test", "validation"] = "test") -> pd.DataFrame:
        """Return the prediction for each image of a split; names of classes are texts, probabilities numbers."""
        import pandas as pd

        if split not in FILES:
            raise DataError(f"There are no predictions of '{split}'; choose test or validation.")
        try:
            found = read_predictions(self.directory / FILES[split], kind_of(self.record.content))
        except DataError as error:
            raise self._unreadable(error) from None
        texts = dict.fromkeys(_text_columns(found), str)
        text = io.StringIO(found.text())
        return pd.read_csv(text, dtype=texts, keep_default_na=False, float_precision="round_trip")

    @in_one_sentence
    def model(self, device: str = "auto", trust: Sequence[str] = ()) -> UsableModel:
        """Return the trained network, ready to predict new images.

        ``trust`` names packages whose code the network may use, for your own parts.
        """
        from headstart.api.predicting import UsableModel

        return UsableModel(self.directory, device, trust)

    @in_one_sentence
    def card(self, license: str = "unknown") -> str:
        """Return the model card, as ``headstart card`` writes it."""
        from headstart.models.run_card import card_of

        return card_of(self.directory, license).text()

    def __repr__(self) -> str:
        score = self.metrics.get(f"test/{self.record.metric.name}")
        tested = "" if score is None else f", test {self.record.metric.named(score)}"
        return f"<Run {self.title}: {self.status}{tested}, {self.directory}>"

    def _repr_html_(self) -> str:
        from headstart.api.display import run_html

        return run_html(self.record)

    def _unreadable(self, error: DataError) -> DataError:
        return DataError(f"{self.directory}: {str(error).rstrip('.')} (the run is {self.status}).")


class SavedRuns(Sequence[SavedRun]):
    """Several runs, in their order."""

    def __init__(self, found: Iterable[SavedRun]) -> None:
        self._runs = tuple(found)

    @overload
    def __getitem__(self, place: int) -> SavedRun: ...

    @overload
    def __getitem__(self, place: slice) -> SavedRuns: ...

    def __getitem__(self, place: int | slice) -> SavedRun | SavedRuns:
        """Return a run, or some of them."""
        return SavedRuns(self._runs[place]) if isinstance(place, slice) else self._runs[place]

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[SavedRun]:
        return iter(self._runs)

    def __repr__(self) -> str:
        return "\n".join(["[", *(f"  {one!r}," for one in self._runs), "]"])

    def frame(self) -> pd.DataFrame:
        """Return a row a run, as ``runs`` does."""
        return _frame([one.record for one in self._runs])

    def _repr_html_(self) -> str:
        return str(self.frame().to_html(index=False, notebook=True))


@in_one_sentence
def run(directory: Place) -> SavedRun:
    """Return the run of a directory. Raises DataError, in one sentence, if it holds no run that can be read."""
    return SavedRun(read_record(expanded(Path(directory)).absolute()))


@in_one_sentence
def runs(*directories: Place) -> pd.DataFrame:
    """Return a row for each run at or below the directories: finished or not.

    The columns are id, status, names of data set, backbone, augmentation and strategy, seed, the settings that differ
    between runs, the metrics, costs, error and directory. Raises DataError for a directory that does not exist.
    """
    places = [expanded(Path(place)) for place in directories or ("runs",)]
    return _frame(sorted(map(record_of, find_run_directories(places)), key=run_order))


def _frame(records: Sequence[RunRecord]) -> pd.DataFrame:
    import pandas as pd

    keys = [*BASE_KEYS, "seed", *(key for key in varying_keys(records) if key not in BASE_KEYS)]
    rows = [_row(record, keys) for record in records]
    first = ["id", "status", *keys]
    metrics = dict.fromkeys(name for record in records for name in record.metrics)
    return pd.DataFrame(rows, columns=[*first, *metrics, *COSTS, "error", "directory"])


def _row(record: RunRecord, keys: Sequence[str]) -> Mapping[str, Any]:
    costs = {name: value for name, value in finite_numbers(record.get("cost")).items() if is_cost(value)}
    return {
        "id": record.id,
        "status": record.status,
        **{key: value_of(record, key) for key in keys},
        **record.metrics,
        **{name: costs.get(name) for name in COSTS},
        "error": record.problem or record.error_text(),
        "directory": str(record.directory),
    }


def _text_columns(found: Predictions, prefix: str = "") -> Iterator[str]:
    """Yield the columns of predictions.csv that hold names; a class called 0 stays a text."""
    yield "id"
    if isinstance(found, SeveralPredictions):
        for name, part in found.parts.items():
            yield from _text_columns(part, f"{name}{SEPARATOR}")
    elif isinstance(found, ClassPredictions):
        yield from (f"{prefix}target", f"{prefix}prediction")
    elif isinstance(found, LabelSetPredictions):
        yield f"{prefix}labels"
