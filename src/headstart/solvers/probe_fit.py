"""Fit linear classifiers to fixed features, one for each L2 strength, and choose the best one on validation."""

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from headstart.progress import ProgressLine
from headstart.solvers.block_fit import BlockFits
from headstart.solvers.blocks import linear_rows
from headstart.solvers.centroids import standardisation
from headstart.solvers.class_weights import class_weights
from headstart.solvers.descent import Fit, Starts
from headstart.solvers.features import Features, in_double
from headstart.solvers.linear_fit import LOSSES, Loss, bernoulli, fit_linear, hinge
from headstart.solvers.probe import OnRow, Probe, ProbeTask, best_on_path, ignore, scored_by_blocks, warn_of_end

log = logging.getLogger(__name__)
STRENGTHS = tuple(10 ** (exponent / 2) for exponent in range(4, -9, -1))  # 100 down to 1e-4
LARGE = 10**8  # images x features x classes; from here on BlockFits is faster, and needs less memory
MOST_FEATURES = 8192
MOST_FITTED = 8  # fits kept, as a sweep may vary a setting that does not change the fit
_FITTED: dict[str, tuple[Probe, list[dict[str, float]]]] = {}


def fit_probe(
    train: Features,
    validation: Features,
    task: ProbeTask,
    strengths: Sequence[float] = STRENGTHS,
    loss: str = "logistic",
    on_row: OnRow = ignore,
) -> Probe:
    """Return the best fit of ``probe_path`` on validation. ``on_row`` gets the number and the scores of each."""
    return best_on_path(probe_path(train, validation, task, strengths, loss), task, on_row)


def probe_path(
    train: Features,
    validation: Features,
    task: ProbeTask,
    strengths: Sequence[float] = STRENGTHS,
    loss: str = "logistic",
) -> Iterator[Probe]:
    """Yield the fit of each strength, from the strongest to the weakest; each starts where ``Starts`` says.

    Targets are classes (N,), or independent labels (N, K), which share the strength. ``loss`` is "logistic" or "hinge".
    Images are weighted in the fit, but not in the scores; validation changes only these.

    ``MemoryFits`` solves small problems, ``BlockFits`` those of at least ``LARGE`` products. Their optimum is the same.
    """
    strengths = sorted((float(strength) for strength in strengths), reverse=True)
    weights = task.weights_of(train.targets)
    function = bernoulli if loss == "logistic" and train.targets.ndim == 2 else LOSSES[loss]
    with ProgressLine(f"{loss} fit", len(strengths), "strengths") as progress:
        progress.note = "principal axes"
        fits = kind_of_fit(train, task.width)(train, validation, task.width, function, weights)
        for number, strength in enumerate(strengths):

            def note(iteration: int, share: float = 0.0, strength: float = strength) -> None:
                images = f", {100 * share:.0f} % of its images" if share else ""
                progress.note = f"l2={strength:.3g}, iteration {iteration}{images}"

            note(0)
            if not fits.fit(strength, on_iteration=note):
                log.warning("The fit at l2=%g stopped after %d iterations.", strength, fits.iterations)
            progress.note = f"l2={strength:.3g}, scores"
            yield Probe(*fits.linear_map(), number, {"l2": strength} | fits.scores(task))
            progress.advance()


class MemoryFits:
    """Fits of one linear classifier for several L2 strengths, in float64 with all features in memory.

    The arguments and methods are those of ``BlockFits``.
    """

    def __init__(
        self, train: Features, validation: Features, classes: int, loss: Loss, weights: Tensor | None = None
    ) -> None:
        self.train, self.validation = in_double(train), in_double(validation)
        self.classes, self.loss, self.weights = classes, loss, weights
        self.mean, self.std = standardisation(self.train.values)
        x, held_out = ((split.values - self.mean) / self.std for split in (self.train, self.validation))
        self.basis = principal_axes(x)
        self.x, self.held_out = x @ self.basis.T, held_out @ self.basis.T
        self.last: Fit | None = None
        self._starts = Starts(self.x.new_zeros(classes, self.x.shape[1] + 1), jumps=loss is hinge)

    @property
    def iterations(self) -> int:
        """Return the number of iterations of the last fit."""
        return self.last.iterations if self.last else 0

    def fit(self, l2: float, on_iteration: Callable[[int], None] = lambda number: None) -> bool:
        """Minimise the objective; return whether the minimum was reached."""
        self.last = fit_linear(
            self.x, self.train.targets, self.classes, l2, self._starts.start(l2), self.loss, self.weights, on_iteration
        )
        self._starts.add(l2, self.last.parameters)
        return self.last.converged

    def scores(self, task: ProbeTask) -> dict[str, float]:
        """Return loss and primary metric of the last fit, named "SPLIT/NAME"."""
        assert self.last is not None
        weight, bias = self.last.weight, self.last.bias
        return scored_by_blocks(
            task,
            train=(linear_rows(self.x, weight, bias), self.train.targets),
            validation=(linear_rows(self.held_out, weight, bias), self.validation.targets),
        )

    def linear_map(self) -> tuple[Tensor, Tensor]:
        """Return weight (classes, D) and bias (classes,) of unscaled features."""
        assert self.last is not None
        weight = self.last.weight @ self.basis / self.std
        return weight, self.last.bias - weight @ self.mean


def kind_of_fit(train: Features, classes: int) -> type[MemoryFits] | type[BlockFits]:
    """Return the kind of fit for a problem of this size.

    ``BlockFits`` needs the square of the number of features in memory, so it takes no more than ``MOST_FEATURES``.
    """
    count, size = train.values.shape
    return BlockFits if count * size * classes >= LARGE and size <= MOST_FEATURES else MemoryFits


def fit_probe_once(
    train: Features,
    validation: Features,
    task: ProbeTask,
    strengths: Sequence[float],
    loss: str = "logistic",
    on_row: OnRow = ignore,
) -> Probe:
    """Return the result of ``fit_probe``, from memory if this process has fitted the same data before."""
    weighed = task.weights_of(train.targets) is not None
    digest = hashlib.sha256(f"{task.width} {list(strengths)} {loss} {weighed}".encode())
    for split in (train, validation):
        for tensor in (split.values, split.targets):
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().data)
    key = digest.hexdigest()
    if key in _FITTED:
        log.info("reused the fit of an earlier run on the same features")
        for number, row in enumerate(_FITTED[key][1]):
            on_row(number, row)
    else:
        rows: list[dict[str, float]] = []

        def keep_row(number: int, row: dict[str, float]) -> None:
            rows.append(row)
            on_row(number, row)

        probe = fit_probe(train, validation, task, strengths, loss, keep_row)
        if len(_FITTED) >= MOST_FITTED:
            del _FITTED[next(iter(_FITTED))]
        _FITTED[key] = probe, rows
    probe = _FITTED[key][0]
    warn_of_end(probe.end, probe.scores["l2"])
    return probe


def balanced_weights(targets: Tensor, classes: int) -> Tensor:
    """Return weights of images, float64 (N,) with mean 1, that give all classes the same total weight."""
    of_class = torch.from_numpy(class_weights(targets.cpu().numpy(), classes))
    return of_class.to(targets.device)[targets]


def label_weights(targets: Tensor) -> Tensor:
    """Return weights, float64 (N, K), that give the positives of each label the total weight of its negatives."""
    targets = targets.double()
    positives = targets.sum(dim=0)
    return 1 + targets * ((len(targets) - positives) / positives.clamp(min=1) - 1)


def principal_axes(x: Tensor) -> Tensor:
    """Return orthonormal rows (K, D) that span the rows of ``x`` (N, D) and along which ``x`` is uncorrelated.

    With an L2 penalty, the weights lie in this span. With few images K is N, so the fit has fewer unknowns; else it is
    D, which takes less time.
    """
    if 4 * len(x) < 3 * x.shape[1]:
        return torch.linalg.svd(x, full_matrices=False).Vh
    return torch.linalg.eigh(x.T @ x).eigenvectors.T
