"""Choose the L2 strength of a linear model on fixed features by its validation scores."""

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from headstart.solvers.blocks import Matrix, blocks_of, share_of

log = logging.getLogger(__name__)
OnRow = Callable[[int, dict[str, float]], None]


class ProbeTask(Protocol):
    """The part of a task that a probe needs; outputs are (N, K)."""

    width: int  # K
    primary: str  # the name of the primary metric
    higher_is_better: bool  # whether a higher value of it is better

    def regress_on(self, targets: Tensor) -> Tensor:
        """Return the targets of a least-squares fit, float64 (N, K)."""

    def best_scale(self, outputs: Matrix, targets: Tensor) -> float:
        """Return the factor for least-squares outputs that gives the lowest loss and changes no prediction."""

    def weights_of(self, targets: Tensor) -> Tensor | None:
        """Return the weight of each image in a solved fit, (N,) with mean 1; None if all weights are equal.

        Where an image has several labels, it is (N, K), the weight of each label.
        """

    def loss(self, outputs: Tensor, targets: Tensor, training: bool = False) -> Tensor:
        """Return the mean loss over N items, in float32 or wider."""

    def tally(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return a row for each item from which ``primary_of`` computes the metric, (N, M); the task determines M."""

    def primary_of(self, tallies: Tensor) -> float:
        """Return the primary metric of N items, from their tallies (N, M), computed in float64."""

    def score(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Return "loss" and the primary metric by its name, computed in float64."""


@dataclass(frozen=True)
class Probe:
    """A linear map of unscaled features; it includes their standardisation."""

    weight: Tensor  # float64 (K, D)
    bias: Tensor  # float64 (K,)
    number: int  # of the L2 strength, counted from the strongest, 0
    scores: dict[str, float]  # train/... and validation/..., and l2
    end: str = ""  # as ``end_of`` returns it
    scale: float = 1.0  # factor of the outputs, which weight and bias include


def ignore(number: int, row: dict[str, float]) -> None:
    """Do nothing with a row of scores."""


def scored(task: ProbeTask, **splits: tuple[Matrix, Tensor]) -> dict[str, float]:
    """Return the scores of (outputs, targets) of each split, named "SPLIT/NAME"."""
    each = {split: task.score(outputs[:], targets) for split, (outputs, targets) in splits.items()}
    return {f"{split}/{name}": value for split, row in each.items() for name, value in row.items()}


def scored_by_blocks(task: ProbeTask, **splits: tuple[Matrix, Tensor]) -> dict[str, float]:
    """Return the loss and the primary metric of each split as ``scored`` does, from blocks of rows of the outputs."""
    row: dict[str, float] = {}
    for split, (outputs, targets) in splits.items():
        loss, tallies = 0.0, []
        for rows in blocks_of(len(targets), task.width):
            found, own = outputs[rows], targets[rows]
            loss += share_of(rows, len(targets)) * float(task.loss(found.double(), own))
            tallies.append(task.tally(found, own))
        row |= {f"{split}/loss": loss, f"{split}/{task.primary}": task.primary_of(torch.cat(tallies))}
    return row


def rank(row: dict[str, float], task: ProbeTask) -> tuple[float, float]:
    """Return a sort key that is largest for the best row: the primary metric on validation, then the loss.

    NaN is the worst loss.
    """
    value, loss = row[f"validation/{task.primary}"], row["validation/loss"]
    return value if task.higher_is_better else -value, -math.inf if math.isnan(loss) else -loss


def best_on_path(path: Iterable[Probe], task: ProbeTask, on_row: OnRow = ignore) -> Probe:
    """Return the fit with the best primary metric on validation, then the lowest loss; of equal ones the first.

    ``path`` starts with the strongest strength. ``on_row`` gets the number and the scores of each fit. Raises
    ValueError for an empty path.
    """
    best: Probe | None = None
    rows = []
    for probe in path:
        on_row(probe.number, probe.scores)
        rows.append(probe.scores)
        if best is None or rank(probe.scores, task) > rank(best.scores, task):
            best = probe
    if best is None:
        raise ValueError("A fit needs at least one strength.")
    return replace(best, end=end_of(rows, best.number, task))


def end_of(rows: Sequence[dict[str, float]], best: int, task: ProbeTask) -> str:
    """Return "strong" or "weak" if the best L2 strength is the strongest (first) or weakest one tried, else "".

    It is also "" if another strength has the same primary metric on validation: further strengths then hardly help.
    """
    values = [row[f"validation/{task.primary}"] * (1 if task.higher_is_better else -1) for row in rows]
    others = values[:best] + values[best + 1 :]
    if not others or values[best] <= max(others):
        return ""
    return "strong" if best == 0 else "weak" if best == len(rows) - 1 else ""


def warn_of_end(end: str, strength: float) -> None:
    """Log a warning that the best ``strength`` is the strongest or weakest one tried, unless ``end`` is empty."""
    if end:
        log.warning("The best L2 strength, %g, is the %sest one tried: add %ser ones.", strength, end, end)
