"""Fit a linear head with outputs for each pixel to a sample of pixels; choose its strength on all validation pixels."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.progress import ProgressLine
from headstart.seeds import generator
from headstart.solvers import ridge
from headstart.solvers.blocks import linear_rows
from headstart.solvers.centroids import standardisation
from headstart.solvers.descent import Starts
from headstart.solvers.features import Features
from headstart.solvers.linear_fit import LOSSES, fit_linear
from headstart.solvers.probe import OnRow, Probe, end_of, rank, warn_of_end
from headstart.solvers.probe_fit import principal_axes
from headstart.tasks.dense_heads import DenseLinear, resized
from headstart.tasks.heads import Rescaled, put_linear

if TYPE_CHECKING:
    from headstart.tasks.task import PixelTask

log = logging.getLogger(__name__)
PIXELS = 2**15  # most pixels of a split in the sample
AT_ONCE = 8  # images in a batch
RIDGE = "ridge"  # a further loss, besides those of ``LOSSES``
Solution = tuple[float, Tensor, Tensor]  # L2 strength, weight (K, D), bias (K,)


def fit_pixels(
    task: "PixelTask",
    head: nn.Module,
    train: Features,
    validation: Features,
    strengths: Sequence[float],
    on_row: OnRow,
    loss: str = "logistic",
) -> Probe:
    """Fit each strength; return the fit with the best primary metric on validation, then the lowest loss.

    ``loss`` is "logistic", "hinge" or "ridge" (least squares on one-hot targets, or on numbers). Features are rows of
    maps (N, D) with targets (N, S, S). The fit uses a fixed sample of at most ``PIXELS`` pixels; scores use all pixels.
    The weights of ``head`` change. ``on_row`` gets the number, 0 for the strongest, and the scores of each strength.
    """
    rows: list[dict[str, float]] = []
    best: Probe | None = None
    sample = pixel_rows(task, head, train)
    held_out = pixel_rows(task, head, validation) if loss == RIDGE else None
    with ProgressLine(f"{loss} fit", len(strengths), "strengths") as progress:
        for number, (strength, weight, bias) in enumerate(_path(task, sample, strengths, loss)):
            scale = 1.0
            if held_out is not None:  # least-squares outputs are no logits, so they are scaled
                scale = task.best_scale(linear_rows(held_out.values, weight, bias), held_out.targets)
            put_linear(head, scale * weight, scale * bias)
            row = {"l2": strength}
            for split, features in (("train", train), ("validation", validation)):
                row |= {f"{split}/{name}": value for name, value in scores_of(task, head, features).items()}
            on_row(number, row)
            rows.append(row)
            if best is None or rank(row, task) > rank(best.scores, task):
                best = Probe(scale * weight, scale * bias, number, row, scale=scale)
            progress.advance()
    if best is None:
        raise ValueError("fit_pixels needs at least one strength.")
    end = end_of(rows, best.number, task)
    warn_of_end(end, best.scores["l2"])
    return replace(best, end=end)


def _path(task: "PixelTask", sample: Features, strengths: Sequence[float], loss: str) -> Iterator[Solution]:
    """Yield the solution of each strength for unscaled features, strongest first."""
    weights = task.weights_of(sample.targets)
    if loss == RIDGE:
        yield from ridge.solve(sample.values, ridge.regressed_on(task, sample.targets), strengths, weights)
        return
    mean, std = standardisation(sample.values)
    x = (sample.values - mean) / std
    basis = principal_axes(x)
    x = x @ basis.T
    starts = Starts(x.new_zeros(task.width, x.shape[1] + 1), jumps=loss == "hinge")
    for strength in sorted(map(float, strengths), reverse=True):
        fit = fit_linear(x, sample.targets, task.width, strength, starts.start(strength), LOSSES[loss], weights)
        starts.add(strength, fit.parameters)
        if not fit.converged:
            log.warning("The fit at l2=%g stopped after %d iterations.", strength, fit.iterations)
        weight = fit.weight @ basis / std
        yield strength, weight, fit.bias - weight @ mean


@torch.no_grad()
def pixel_rows(task: "PixelTask", head: nn.Module, features: Features, most: int = PIXELS) -> Features:
    """Return the channels of all stages at P sampled pixels with a target, float64 (P, D), and their targets (P,).

    The sample is fixed; each image has the same number of pixels, in all about ``most``. The maps are enlarged as
    ``head`` enlarges its outputs, so a linear map of these rows gives the weights of the head.
    """
    layers = head.layers if isinstance(head, Rescaled) else head
    assert isinstance(layers, DenseLinear)
    count = len(features.values)
    each = max(1, most // count)
    rng = generator("probe pixels", 0)
    values, targets = [], []
    for row, labels in zip(features.values, features.targets, strict=True):
        places = torch.nonzero(task.has_target(labels))
        if not len(places):
            continue
        chosen = torch.from_numpy(rng.permutation(len(places))[:each]).to(places.device)
        places = places[chosen]
        maps = layers.rows.split(row[None].double())
        finest = max(x.shape[-1] for x in maps)
        joined = torch.cat([resized(x, finest) for x in maps], dim=1)
        grid = (2 * places.flip(1).double() + 1) / labels.shape[-1] - 1  # (x, y) from -1 to 1, edge to edge
        found = F.grid_sample(joined, grid[None, None], mode="bilinear", padding_mode="border", align_corners=False)
        values.append(found[0, :, 0].T)
        targets.append(labels[places[:, 0], places[:, 1]])
    return Features(torch.cat(values), torch.cat(targets))


@torch.no_grad()
def scores_of(task: "PixelTask", head: nn.Module, features: Features) -> dict[str, float]:
    """Return the loss, a mean over all pixels with a target, and the primary metric."""
    total, pixels, tallies = 0.0, 0, []
    for start in range(0, len(features.values), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        outputs, targets = head(features.values[part]), features.targets[part]
        count = int(task.has_target(targets).sum())
        total, pixels = total + float(task.loss(outputs, targets)) * count, pixels + count
        tallies.append(task.tally(outputs, targets))
    return {"loss": total / max(1, pixels), task.primary: task.primary_of(torch.cat(tallies))}
