"""Turn outputs of a network into answers for people and programs: labels, probabilities, numbers, prediction sets."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from headstart.errors import ConfigError, DataError
from headstart.models.description import ModelDescription, ModelOutput, OutputCalibration, Unlike
from headstart.statistics.conformal import prediction_sets, score_limit
from headstart.targets.label_sets import labels_cell
from headstart.targets.several import SEPARATOR, names_of

SEVERAL, NUMBERS = "several", "regression"
Answer = Mapping[str, Any]


@dataclass(frozen=True)
class Question:
    """What is asked of each image: ``raw`` probabilities of the network, and sets of this ``coverage``."""

    raw: bool = False
    coverage: float | None = None


class AnsweredOutput:
    """One output of a network, and how its values become answers."""

    def __init__(
        self, task: str, names: Sequence[str], calibration: OutputCalibration | None, question: Question
    ) -> None:
        self.task, self.names, self.question = task, list(names), question
        self.calibration = calibration or OutputCalibration()
        self.limits: list[float] = []
        if question.coverage is not None and task in ("classification", NUMBERS):
            if not self.calibration.scores:
                raise DataError("The model has no scores of validation images, so it gives no prediction sets.")
            self.limits = [
                score_limit(scores, question.coverage, self.calibration.images) for scores in self.calibration.scores
            ]

    def answers(self, values: Tensor) -> list[Answer]:
        """Return an answer for each image, from its outputs (N, K) or label image (N, S, S)."""
        made: list[Answer] = getattr(self, f"_{self.task}")(values)
        return made

    def _classification(self, values: Tensor) -> list[Answer]:
        logits, predicted = values.double(), values.argmax(dim=1).tolist()
        temperature = self.calibration.temperature
        calibrated = (logits / temperature).softmax(dim=1).numpy() if temperature else logits.softmax(dim=1).numpy()
        shown = logits.softmax(dim=1).numpy() if self.question.raw else calibrated
        sets = prediction_sets(calibrated, self.limits[0]) if self.limits else None
        return [
            {
                "label": self.names[label],
                "probability": row[label],
                **({} if sets is None else {"set": self._members(sets[place], row)}),
                "probabilities": dict(zip(self.names, row, strict=True)),
            }
            for place, (label, row) in enumerate(zip(predicted, shown.tolist(), strict=True))
        ]

    def _members(self, members: NDArray[np.bool_], row: Sequence[float]) -> list[str]:
        """Return the classes of a set, the most likely first."""
        places = np.flatnonzero(members).tolist()
        return [self.names[place] for place in sorted(places, key=lambda place: -row[place])]

    def _multilabel(self, values: Tensor) -> list[Answer]:
        shares = values.double().sigmoid().numpy()
        thresholds = np.asarray(self.calibration.thresholds or [0.5] * len(self.names))
        return [
            {
                "labels": [name for name, one in zip(self.names, has, strict=True) if one],
                "probabilities": dict(zip(self.names, row, strict=True)),
            }
            for row, has in zip(shares.tolist(), (shares >= thresholds).tolist(), strict=True)
        ]

    def _regression(self, values: Tensor) -> list[Answer]:
        names = [name or "prediction" for name in self.names]
        answers: list[Answer] = []
        for row in values[:, : len(names)].double().tolist():
            answer: dict[str, Any] = {"values": dict(zip(names, row, strict=True))}
            if self.limits:
                answer["intervals"] = {
                    name: [value - limit, value + limit]
                    for name, value, limit in zip(names, row, self.limits, strict=True)
                }
            answers.append(answer)
        return answers

    def _segmentation(self, values: Tensor) -> list[Answer]:
        flat = values.flatten(1).numpy()
        counts = np.stack([np.bincount(row, minlength=len(self.names)) for row in flat]) / flat.shape[1]
        return [{"shares": dict(zip(self.names, row, strict=True))} for row in counts.tolist()]

    def _dense_regression(self, values: Tensor) -> list[Answer]:
        flat = values.flatten(1).double()
        ends = (flat.mean(dim=1), flat.amin(dim=1), flat.amax(dim=1))
        return [
            dict(zip(("mean", "lowest", "highest"), row, strict=True))
            for row in zip(*(of.tolist() for of in ends), strict=True)
        ]


class ModelAnswers:
    """The answers of a model, of one output or of several by name."""

    def __init__(self, description: ModelDescription, question: Question) -> None:
        output = description.output
        self.unlike: Unlike | None = description.unlike
        self.task, coverage = output.task, question.coverage
        if coverage is not None and not 0 < coverage < 1:
            raise ConfigError(f"--conformal {coverage:g}: expected a share between 0 and 1, such as 0.9.")
        if coverage is not None and output.task not in ("classification", NUMBERS, SEVERAL):
            raise ConfigError(f"--conformal: a model of task={output.task} gives no prediction sets; leave it out.")
        self.parts = {
            name: AnsweredOutput(task, names, description.calibration.get(name), question)
            for name, task, names in outputs_of(output)
        }

    def of(self, values: Tensor, distances: NDArray[np.float64] | None) -> Iterator[dict[str, Any]]:
        """Yield the answer for each image, from its outputs and its distance from the training images."""
        start = 0
        found = []
        for part in self.parts.values():
            width = len(part.names)
            found.append(part.answers(values if len(self.parts) == 1 else values[:, start : start + width]))
            start += width
        for place, answers in enumerate(zip(*found, strict=True)):
            answer = dict(answers[0]) if "" in self.parts else dict(zip(self.parts, answers, strict=True))
            if distances is not None and self.unlike is not None:
                distance = float(distances[place])
                answer |= {"distance": distance, "unlike": bool(distance > self.unlike.threshold)}
            yield answer


def outputs_of(output: ModelOutput) -> list[tuple[str, str, list[str]]]:
    """Return name, task and names of each output; the name of the only one is "". Raises DataError."""
    if output.task != SEVERAL:
        if not hasattr(AnsweredOutput, f"_{output.task}"):
            raise DataError(f"The model's task is '{output.task[:40]}', which this version does not know.")
        return [("", output.task, list(output.names))]
    found = [(name, task, names_of(name, output.names)) for name, task in output.parts.items()]
    if not found or not all(names and hasattr(AnsweredOutput, f"_{task}") for _, task, names in found):
        raise DataError("The model does not say what its outputs are.")
    return found


def flat(answer: Answer, prefix: str = "") -> dict[str, Any]:
    """Return an answer as the cells of a row: first what is predicted, then the probabilities."""
    first: dict[str, Any] = {}
    last: dict[str, Any] = {}
    for name, value in answer.items():
        if name in ("probabilities", "values"):
            (last if name == "probabilities" else first).update({f"{prefix}{one}": of for one, of in value.items()})
        elif name == "shares":
            last |= {f"{prefix}{one}": of for one, of in value.items()}
        elif name == "intervals":
            first |= {
                f"{prefix}{end}_{one}": of[at] for one, of in value.items() for at, end in enumerate(("low", "high"))
            }
        elif isinstance(value, Mapping):
            first |= flat(value, f"{prefix}{name}{SEPARATOR}")
        elif isinstance(value, list):
            first[f"{prefix}{name}"] = labels_cell(value)
        else:
            first[f"{prefix}{name}"] = value
    return first | {name: value for name, value in last.items() if name not in first}
