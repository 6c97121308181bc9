"""Draw the first training batch, as the network sees it, as one image."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from headstart.data import ImageData
from headstart.precision import at_least_single
from headstart.records.curves import CurveLogger
from headstart.strategies import Strategy

TAG = "augmented_batch"
SHOWN = 16  # images at most, as some views take milliseconds each
COLUMNS = 4
SIDE = 128  # pixels per side of an image in the grid, at most, as compressing a grid takes time
GAP = 2
_LAST: list[Any] = [None, None]  # what determines the last image, None with views or mixes, and the image


def log_batch(strategy: Strategy, data: ImageData, loggers: Sequence[CurveLogger]) -> None:
    """Log the first batch of the first epoch, after views and mixes, to the loggers that keep images.

    It is bit-equal to the input of the first training step. Drawing it changes no random stream: views come from
    (seed, epoch, position), mixes from (seed, epoch, batch). It needs no loader and no other process.
    """
    keeping = [logger for logger in loggers if logger.keeps_images]
    if not keeping:
        return
    of, places = data.train.images, [place for _, place in next(iter(data.train_batches()))[:SHOWN]]
    scale, plain = (strategy.pixel_scale, strategy.pixel_shift), not strategy.mixes and not data.train.views
    origin = [[of.contents[place] for place in places], of.decoder, data.train.size, data.signature, scale[0].dtype]
    origin += [part.tolist() for part in scale]
    if not plain or _LAST[0] != origin:  # most runs of a sweep begin with the same images
        _LAST[:] = origin if plain else None, grid(to_bytes(strategy, first_images(strategy, data)))
    for logger in keeping:
        logger.log_images(TAG, _LAST[1])


@torch.no_grad()
def first_images(strategy: Strategy, data: ImageData, count: int = SHOWN) -> Tensor:
    """Return the first images of the first batch as they enter the network: float (N, C, S, S), normalised.

    Several views of one image are side by side.
    """
    train = data.train
    keys = next(iter(data.train_batches()))
    whole, branches = len(keys), train.branches
    shown = [place + branch * whole for place in range(whole) for branch in range(branches)][:count]
    mixings = strategy.mixings(whole * branches, (train.size, train.size), 0, 0)
    mixings = [mixing for mixing in mixings if mixing.stage is None]
    pixels = list(dict.fromkeys(row % whole for row in _with_partners(shown, mixings)))
    inputs = train.__getitems__([keys[image] for image in pixels]).to(strategy.device).carried_out().inputs
    rows = [image + branch * whole for branch in range(branches) for image in pixels]
    images = strategy.normalise(inputs)
    for mixing in mixings:
        images = mixing.of_rows(rows).inputs(images)
    return images[[rows.index(row) for row in shown]]


def _with_partners(rows: Sequence[int], mixings: Sequence[Any]) -> list[int]:
    """Return the rows, then all rows that are mixed into them, so that only these images are decoded."""
    needed = dict.fromkeys(rows)
    for mixing in reversed(mixings):
        needed |= dict.fromkeys(int(mixing.partner[row]) for row in list(needed))
    return list(needed)


def to_bytes(strategy: Strategy, normalised: Tensor) -> NDArray[np.uint8]:
    """Undo the normalisation: float (N, C, S, S) to uint8 (N, s, s, 3), no larger than SIDE pixels."""
    x = (normalised - strategy.pixel_shift) / strategy.pixel_scale
    if x.shape[-1] > SIDE:
        x = interpolate(x, size=(SIDE, SIDE), mode="area")
    return strategy.backbone.signature.for_display(at_least_single(x).permute(0, 2, 3, 1).cpu().numpy())


def grid(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return images (N, s, s, 3) as one image (H, W, 3) with COLUMNS columns on a white background."""
    count, side = images.shape[:2]
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    step = side + GAP
    canvas = np.full((rows * step - GAP, columns * step - GAP, 3), 255, np.uint8)
    for number, image in enumerate(images):
        top, left = step * (number // columns), step * (number % columns)
        canvas[top : top + side, left : left + side] = image
    return canvas
