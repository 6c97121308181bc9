"""Predict several outputs from one backbone: one head per output, a weighted sum of losses, one primary metric."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from headstart.precision import at_least_single
from headstart.settings.leaf_table import check_parameters
from headstart.settings.parts import SEVERAL, given_parts, given_primary, given_weights
from headstart.solvers.blocks import Matrix
from headstart.solvers.features import Features
from headstart.solvers.neighbours import NearestNeighbours
from headstart.solvers.probe import OnRow, Probe, ignore
from headstart.targets.several import SeveralTargets, names_of
from headstart.tasks.classification import Classification
from headstart.tasks.heads import JoinedHeads, LinearHead
from headstart.tasks.multilabel import Multilabel
from headstart.tasks.regression import Regression
from headstart.tasks.task import Task

TASKS: Mapping[str, Any] = {task.kind: task for task in (Classification, Regression, Multilabel)}
Fit = Callable[[Task, Features, Features, OnRow], Probe]


@dataclass(frozen=True)
class TaskPart:
    """One output: its task, and the places of its columns."""

    name: str
    task: Any
    hard: slice  # columns of the targets from the data set
    soft: slice  # columns of the targets from ``Several.soft``
    main: slice  # columns of the network's outputs that are predictions
    rest: slice  # columns of the network's outputs that only the loss reads
    tallies: slice  # columns of the tallies
    factor: float  # of the loss if weights are learned: 1/2 for squared errors, else 1, as in the paper


class Several:
    """Named outputs, each with the task of its kind; targets are (N, columns), see ``SeveralTargets``.

    ``parts`` are the settings of each output, and ``given`` those that the data set determines. The loss is the sum of
    the losses L_i of the outputs, each times its number in ``weights``. If ``weights`` is "uncertainty", the training
    loss is ``sum_i f_i exp(-s_i) L_i + s_i / 2``. Here s_i is learned and starts at 0; it is the logarithm of the
    variance of output i. f_i is 1/2 for squared errors, else 1 (Kendall et al. 2018, arXiv:1705.07115, equation 10).
    The loss on validation and test is then the plain sum, so that epochs can be compared. ``primary`` names the output
    whose metric is primary; None is the first.
    """

    kind = SEVERAL
    balanced = False
    by_pixel = False

    def __init__(
        self,
        parts: Mapping[str, Any],
        weights: Mapping[str, float] | str | None = None,
        primary: str | None = None,
        head: LinearHead | None = None,
        given: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        check_parameters("task", locals())
        settings = given_parts(parts)
        found = given_weights(weights, settings)
        self.learned = found is None
        self.weights = found or dict.fromkeys(settings, 1.0)
        self.head = head or LinearHead()
        tasks = {
            name: TASKS[part.kind](**part.options, **(given or {}).get(name, {}), head=self.head)
            for name, part in settings.items()
        }
        self.parts = _placed(tasks)
        self.width = sum(part.task.width for part in self.parts)
        self.decisive = next(part for part in self.parts if part.name == given_primary(primary, settings))
        self.primary: str = self.decisive.task.primary
        self.higher_is_better: bool = self.decisive.task.higher_is_better

    @classmethod
    def settings_of(cls, data: Any) -> Mapping[str, Any]:
        """Return the settings of each output that the training targets determine, such as the number of classes."""
        rules: SeveralTargets = data.targets
        given = {}
        for name, part in rules.settings.items():
            classes = names_of(name, data.class_names)
            targets = rules.part(name, data.train.targets, data.class_names)
            view = SimpleNamespace(
                num_classes=len(classes), class_weights=None, balance="none", train=SimpleNamespace(targets=targets)
            )
            given[name] = TASKS[part.kind].settings_of(view)
        return {"given": given}

    @property
    def linear(self) -> bool:
        """Return whether linear layers give all outputs themselves."""
        return all(part.task.linear for part in self.parts)

    def of_kind(self, kind: str) -> list[str]:
        """Return the names of the outputs of a kind."""
        return [part.name for part in self.parts if part.task.kind == kind]

    def make_head(self, feature_dim: int, seed: int) -> nn.Module:
        """Return the heads of all outputs in one module; each has the first weights of a run of its output alone."""
        heads = [part.task.make_head(feature_dim, seed) for part in self.parts]
        return JoinedHeads(heads, [part.main.stop - part.main.start for part in self.parts], self.learned)

    def soft(self, targets: Tensor) -> Tensor:
        """Return the soft targets of all outputs side by side, float32."""
        return torch.cat([part.task.soft(_hard(part, targets)) for part in self.parts], dim=1)

    def loss(self, outputs: Tensor, targets: Tensor, training: bool = False) -> Tensor:
        """Return the weighted sum of the outputs' losses; learned weights are used only in ``training``."""
        losses = self._losses(outputs, targets, training)
        if not (training and self.learned):
            return torch.stack([self.weights[name] * loss for name, loss in losses.items()]).sum()
        logs = at_least_single(outputs)[0, -len(self.parts) :]
        factors = logs.new_tensor([part.factor for part in self.parts])
        return (factors * (-logs).exp() * torch.stack(list(losses.values())) + logs / 2).sum()

    def tally(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the tallies of all outputs side by side."""
        each = [part.task.tally(_outputs(part, outputs), self._targets(part, targets)) for part in self.parts]
        return torch.cat(each, dim=1)

    def primary_of(self, tallies: Tensor) -> float:
        """Return the metric of the primary output."""
        found: float = self.decisive.task.primary_of(tallies[:, self.decisive.tallies])
        return found

    @property
    def metric_names(self) -> list[str]:
        """Return the name of each output's metric, such as "box/r2"."""
        return [f"{part.name}/{part.task.primary}" for part in self.parts]

    def metrics_of(self, tallies: Tensor) -> dict[str, float]:
        """Return the metric of each output by its name, from the tallies."""
        found = (part.task.primary_of(tallies[:, part.tallies]) for part in self.parts)
        return dict(zip(self.metric_names, found, strict=True))

    def score(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Return loss and primary metric, and those of each output, named "box/r2"; computed in float64."""
        found: dict[str, float] = {}
        for part in self.parts:
            own = part.task.score(_outputs(part, outputs), self._targets(part, targets))
            found |= {f"{part.name}/{name}": value for name, value in own.items()}
        return self._with_total(found) | found

    def mean_over_views(self, outputs: Tensor) -> Tensor:
        """Return the means over views of all outputs side by side."""
        means = [
            part.task.mean_over_views(_outputs(part, outputs.flatten(0, 1)).unflatten(0, outputs.shape[:2]))
            for part in self.parts
        ]
        mains = [mean[:, : part.main.stop - part.main.start] for part, mean in zip(self.parts, means, strict=True)]
        rests = [mean[:, part.main.stop - part.main.start :] for part, mean in zip(self.parts, means, strict=True)]
        return torch.cat([*mains, *rests, outputs[0, :, self.parts[-1].rest.stop :].to(means[0])], dim=1)

    def spread_over_views(self, outputs: Tensor) -> Tensor:
        """Return the weighted sum of the outputs' spreads; see ``Task.spread_over_views``."""
        spreads = [
            self.weights[part.name]
            * part.task.spread_over_views(_outputs(part, outputs.flatten(0, 1)).unflatten(0, outputs.shape[:2]))
            for part in self.parts
        ]
        return torch.stack(spreads).sum()

    def start_head(self, head: nn.Module, features: Features) -> None:
        """Set the weights of each output's head from features."""
        assert isinstance(head, JoinedHeads)
        for part, own in zip(self.parts, head.heads, strict=True):
            part.task.start_head(own, _features(part, features))

    def make_neighbours(
        self, values: Tensor, targets: Tensor, neighbours: int, temperature: float
    ) -> NearestNeighbours:
        """Return a head that predicts every output from the nearest training images."""
        return JoinedNeighbours(values, targets, self.parts, neighbours, temperature)

    def regress_on(self, targets: Tensor) -> Tensor:
        """Return the targets of a least-squares fit for all outputs side by side, float64."""
        return torch.cat([part.task.regress_on(_hard(part, targets)) for part in self.parts], dim=1)

    def best_scale(self, outputs: Matrix, targets: Tensor) -> float:
        """Return 1, as ``fit_parts`` scales each output on its own."""
        return 1.0

    def weights_of(self, targets: Tensor) -> Tensor | None:
        """Return None, as all weights are equal."""
        return None

    def fit_probe(self, train: Features, validation: Features, strengths: Sequence[float] | None = None) -> Probe:
        """Return the probes of all outputs as one linear map."""

        def fit(task: Task, train: Features, validation: Features, on_row: OnRow) -> Probe:
            return task.fit_probe(train, validation, strengths)

        return fit_parts(self, fit, train, validation, ignore)[0]

    def joined_row(self, rows: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """Return one row of scores from a row for each output."""
        row = {"l2": rows[self.decisive.name]["l2"]}
        for split in ("train", "validation"):
            start = f"{split}/"
            found = {
                f"{name}/{score.removeprefix(start)}": value
                for name, own in rows.items()
                for score, value in own.items()
                if score.startswith(start)
            }
            row |= {f"{start}{score}": value for score, value in (self._with_total(found) | found).items()}
        return row

    def _with_total(self, found: Mapping[str, float]) -> dict[str, float]:
        """Return the total loss and the primary metric, from the scores of each output."""
        loss = sum(weight * found[f"{name}/loss"] for name, weight in self.weights.items())
        return {"loss": loss, self.primary: found[f"{self.decisive.name}/{self.primary}"]}

    def _losses(self, outputs: Tensor, targets: Tensor, training: bool) -> dict[str, Tensor]:
        return {
            part.name: part.task.loss(_outputs(part, outputs), self._targets(part, targets), training)
            for part in self.parts
        }

    def _targets(self, part: TaskPart, targets: Tensor) -> Tensor:
        """Return the targets of an output, from hard or soft targets of all outputs."""
        # Soft targets have a column per class, so they are wider. Without class outputs, both have the same columns.
        soft = targets.shape[1] > self.parts[-1].hard.stop
        return targets[:, part.soft] if soft else _hard(part, targets)


class JoinedNeighbours(NearestNeighbours):
    """A head that predicts several outputs from the same nearest images."""

    labels: Tensor  # (M, columns)

    def __init__(
        self, values: Tensor, targets: Tensor, parts: Sequence[TaskPart], neighbours: int, temperature: float
    ) -> None:
        targets = targets if targets.ndim == 2 else targets.new_empty(0, parts[-1].hard.stop, dtype=torch.float64)
        super().__init__(values, targets, 0, neighbours, temperature)
        self.parts = parts
        self._voters: list[NearestNeighbours] = [  # without stored images
            part.task.make_neighbours(values[:0], _hard(part, targets[:0]), neighbours, temperature) for part in parts
        ]

    def votes(self, cosines: Tensor, labels: Tensor, count: int) -> Tensor:
        """Return outputs (N, K) from the first ``count`` of ``cosines`` (N, most) and ``labels`` (N, most, columns)."""
        each = [
            voter.votes(cosines, _hard(part, labels), count)
            for part, voter in zip(self.parts, self._voters, strict=True)
        ]
        return torch.cat(each, dim=1)


def parts_of(task: Task, features: Features) -> list[tuple[str, Task, Features]]:
    """Return the name, task and features of each output; a task with a single output has the name ""."""
    if not isinstance(task, Several):
        return [("", task, features)]
    return [(part.name, part.task, _features(part, features)) for part in task.parts]


def fit_parts(
    task: Task, fit: Fit, train: Features, validation: Features, on_row: OnRow
) -> tuple[Probe, dict[str, Probe]]:
    """Fit a linear map to the features for each output; return one joined map, and the map of each output by name.

    Each output chooses its own L2 strength. The joined map has the number and the strength of the primary output.
    ``on_row`` gets the number and the joined scores of each strength.
    """
    if not isinstance(task, Several):
        probe = fit(task, train, validation, on_row)
        return probe, {"": probe}
    rows: dict[str, list[dict[str, float]]] = {}
    probes = {}
    for (name, own, of_train), (_, _, of_validation) in zip(
        parts_of(task, train), parts_of(task, validation), strict=True
    ):
        rows[name] = []
        probes[name] = fit(own, of_train, of_validation, lambda number, row, into=rows[name]: into.append(row))  # type: ignore[misc]
    for number, each in enumerate(zip(*rows.values(), strict=True)):
        on_row(number, task.joined_row(dict(zip(rows, each, strict=True))))
    weight = torch.cat([probe.weight for probe in probes.values()])
    bias = torch.cat([probe.bias for probe in probes.values()])
    scores = task.joined_row({name: probe.scores for name, probe in probes.items()})
    whole = replace(probes[task.decisive.name], weight=weight, bias=bias, scores=scores, scale=1.0)
    return whole, probes


def learned_weights(task: Task, head: nn.Module) -> dict[str, float]:
    """Return the learned weight ``f_i exp(-s_i)`` of each output's loss; empty if weights are not learned."""
    if not (isinstance(task, Several) and isinstance(head, JoinedHeads) and head.log_variances is not None):
        return {}
    logs = head.log_variances.detach().double().cpu().tolist()
    return {
        part.name: float(part.factor * torch.tensor(-log, dtype=torch.float64).exp())
        for part, log in zip(task.parts, logs, strict=True)
    }


def _placed(tasks: Mapping[str, Any]) -> list[TaskPart]:
    """Return the outputs with the places of their columns."""
    hard = soft = main = tallies = 0
    rest = sum(_predictions(task) for task in tasks.values())
    parts = []
    for name, task in tasks.items():
        count, more = _predictions(task), 0 if task.linear else task.width
        own = 1 if task.kind == "classification" else count
        tally = own if task.kind == "classification" else 2 * own
        squared = task.kind == "regression" and task.loss_name == "mse"
        parts.append(
            TaskPart(
                name, task, slice(hard, hard + own), slice(soft, soft + count), slice(main, main + count),
                slice(rest, rest + more), slice(tallies, tallies + tally), 0.5 if squared else 1.0,
            )
        )  # fmt: skip
        hard, soft, main, rest, tallies = hard + own, soft + count, main + count, rest + more, tallies + tally
    return parts


def _predictions(task: Any) -> int:
    """Return how many columns of a task's outputs are predictions; the logits of bins are none."""
    count: int = task.width if task.linear else task.numbers
    return count


def _outputs(part: TaskPart, outputs: Tensor) -> Tensor:
    """Return the columns of a part: its predictions, then the columns that only its loss reads."""
    return outputs[:, part.main] if part.task.linear else torch.cat([outputs[:, part.main], outputs[:, part.rest]], 1)


def _hard(part: TaskPart, targets: Tensor) -> Tensor:
    """Return the hard targets of a part, in the format of its task, from targets (..., columns)."""
    own = targets[..., part.hard]
    return own[..., 0].long() if part.task.kind == "classification" else own


def _features(part: TaskPart, features: Features) -> Features:
    return Features(features.values, _hard(part, features.targets))
