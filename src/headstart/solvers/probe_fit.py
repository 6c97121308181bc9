"""Fit linear classifiers to fixed features, one for each L2 strength, and choose the best one on validation."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from headstart.progress import ProgressLine
from headstart.solvers.centroids import standardisation
from headstart.solvers.class_weights import class_weights
from headstart.solvers.features import Features, in_double
from headstart.solvers.linear_fit import LOSSES, Fit, bernoulli, fit_linear
from headstart.solvers.probe import OnRow, Probe, ProbeTask, end_of, ignore, rank, scored, warn_of_end

log = logging.getLogger(__name__)
STRENGTHS = tuple(10 ** (exponent / 2) for exponent in range(4, -9, -1))  # 100 down to 1e-4
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
    """Fit each strength; return the fit with the best primary metric on validation, then the lowest loss.

    Targets are classes (N,), or independent labels (N, K), which share the strength. Strengths are fitted from the
    strongest to the weakest; each fit starts from the previous solution. ``loss`` is "logistic" or "hinge". Images are
    weighted in the fit, but not in the scores. ``on_row`` gets the number and the scores of each strength.
    """
    train, validation = in_double(train), in_double(validation)
    strengths = sorted((float(strength) for strength in strengths), reverse=True)
    mean, std = standardisation(train.values)
    x, held_out = ((split.values - mean) / std for split in (train, validation))
    weights = task.weights_of(train.targets)
    function = bernoulli if loss == "logistic" and train.targets.ndim == 2 else LOSSES[loss]
    fit: Fit | None = None
    best: Probe | None = None
    rows = []
    with ProgressLine(f"{loss} fit", len(strengths), "strengths") as progress:
        progress.note = "principal axes"
        basis = principal_axes(x)
        x, held_out = x @ basis.T, held_out @ basis.T
        for number, strength in enumerate(strengths):

            def note(iteration: int, strength: float = strength) -> None:
                progress.note = f"l2={strength:.3g}, iteration {iteration}"

            note(0)
            fit = fit_linear(x, train.targets, task.width, strength, fit, function, weights=weights, on_iteration=note)
            if not fit.converged:
                log.warning("The fit at l2=%g stopped after %d iterations.", strength, fit.iterations)
            row = {"l2": strength}
            row |= scored(
                task, train=(fit.logits(x), train.targets), validation=(fit.logits(held_out), validation.targets)
            )
            on_row(number, row)
            rows.append(row)
            if best is None or rank(row, task) > rank(best.scores, task):
                weight = fit.weight @ basis / std
                best = Probe(weight, fit.bias - weight @ mean, number, row)
            progress.advance()
    if best is None:
        raise ValueError("fit_probe needs at least one strength.")
    return replace(best, end=end_of(rows, best.number, task))


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
    """Return orthonormal rows (min(N, D), D) that span the rows of ``x`` (N, D) and along which ``x`` is uncorrelated.

    With an L2 penalty, the weights lie in this span. With fewer images than features, the fit thus has fewer unknowns.
    """
    if len(x) < x.shape[1]:
        return torch.linalg.svd(x, full_matrices=False).Vh
    return torch.linalg.eigh(x.T @ x).eigenvectors.T
