"""Linear classifiers on fixed features, one a regularisation strength, the best chosen on validation."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from headstart.progress import ProgressLine
from headstart.solvers.centroids import standardisation
from headstart.solvers.class_weights import class_weights
from headstart.solvers.features import Features, in_double
from headstart.solvers.linear_fit import LOSSES, Fit, fit_linear
from headstart.solvers.probe import Probe, end_of, rank, warn_of_end
from headstart.solvers.scoring import score_classes

log = logging.getLogger(__name__)
STRENGTHS = tuple(10 ** (exponent / 2) for exponent in range(4, -9, -1))  # 100 down to 1e-4


MOST_FITTED = 8  # remembered, for sweeps over what a fit does not depend on


_FITTED: dict[str, tuple[Probe, list[dict[str, float]]]] = {}


def fit_probe(
    train: Features,
    validation: Features,
    classes: int,
    strengths: Sequence[float] = STRENGTHS,
    loss: str = "logistic",
    on_row: Callable[[int, dict[str, float]], None] = lambda number, row: None,
    balanced: bool = False,
) -> Probe:
    """Fit from the strongest to the weakest, each from the one before; best validation accuracy, then lowest loss.

    ``loss`` is "logistic" or "hinge"; the scores are accuracy and cross-entropy for both, over images that count alike
    even where the fit is ``balanced``: there every class has the same weight. ``on_row`` is told the scores of each
    strength.
    """
    train, validation = in_double(train), in_double(validation)
    strengths = sorted((float(strength) for strength in strengths), reverse=True)
    mean, std = standardisation(train.values)
    x, held_out = ((split.values - mean) / std for split in (train, validation))
    weights = balanced_weights(train.targets, classes) if balanced else None
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
            fit = fit_linear(x, train.targets, classes, strength, fit, LOSSES[loss], weights=weights, on_iteration=note)
            if not fit.converged:
                log.warning("The fit at l2=%g stopped after %d iterations.", strength, fit.iterations)
            row = {"l2": strength, **scores("train", fit.logits(x), train.targets)}
            row |= scores("validation", fit.logits(held_out), validation.targets)
            on_row(number, row)
            rows.append(row)
            if best is None or rank(row) > rank(best.scores):
                weight = fit.weight @ basis / std
                best = Probe(weight, fit.bias - weight @ mean, number, row)
            progress.advance()
    if best is None:
        raise ValueError("fit_probe needs at least one strength.")
    return replace(best, end=end_of(rows, best.number))


def fit_probe_once(
    train: Features,
    validation: Features,
    classes: int,
    strengths: Sequence[float],
    loss: str,
    on_row: Callable[[int, dict[str, float]], None],
    balanced: bool = False,
) -> Probe:
    """``fit_probe``; or what it gave, where this process has fitted the very same before."""
    digest = hashlib.sha256(f"{classes} {list(strengths)} {loss} {balanced}".encode())
    for split in (train, validation):
        for tensor in (split.values, split.targets):
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().data)
    key = digest.hexdigest()
    if key in _FITTED:
        log.info("the fit is that of an earlier run on the same features")
        for number, row in enumerate(_FITTED[key][1]):
            on_row(number, row)
    else:
        rows: list[dict[str, float]] = []

        def told(number: int, row: dict[str, float]) -> None:
            rows.append(row)
            on_row(number, row)

        probe = fit_probe(train, validation, classes, strengths, loss, told, balanced)
        if len(_FITTED) >= MOST_FITTED:
            del _FITTED[next(iter(_FITTED))]
        _FITTED[key] = probe, rows
    probe = _FITTED[key][0]
    warn_of_end(probe.end, probe.scores["l2"])
    return probe


def balanced_weights(targets: Tensor, classes: int) -> Tensor:
    """Return the weight of each image, float64 (N,) of mean 1, that makes all classes weigh the same."""
    of_class = torch.from_numpy(class_weights(targets.cpu().numpy(), classes))
    return of_class.to(targets.device)[targets]


def principal_axes(x: Tensor) -> Tensor:
    """Orthonormal rows that span ``x``, along which it is uncorrelated: (min(N, D), D).

    With an L2 penalty the weights lie in that span: fewer images than features, fewer unknowns.
    """
    if len(x) < x.shape[1]:
        return torch.linalg.svd(x, full_matrices=False).Vh
    return torch.linalg.eigh(x.T @ x).eigenvectors.T


def scores(split: str, logits: Tensor, targets: Tensor) -> dict[str, float]:
    """Mean cross-entropy in nats and accuracy, under the names of the split."""
    return {f"{split}/{name}": value for name, value in score_classes(logits, targets).items()}
