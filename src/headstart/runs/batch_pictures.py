"""The first training batch as the network sees it, as one picture for people."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from headstart.data import PictureData
from headstart.runs.curves import Curves
from headstart.strategies import Strategy
from headstart.strategies.strategy import finished

TAG = "augmented_batch"
SHOWN = 16  # pictures at most: some views take milliseconds each
COLUMNS = 4
SIDE = 128  # pixels of a picture in the grid, at most: a grid takes time to compress
GAP = 2


def log_batch(strategy: Strategy, data: PictureData, loggers: Sequence[Curves]) -> None:
    """Give the first batch of the first epoch, after views and mixes, to the loggers that keep pictures.

    It is bit-equal to what the first training step will see, and drawing it moves no random stream: views come from
    (seed, epoch, position), mixes from (seed, epoch, batch). No loader is made, and no process started.
    """
    keeping = [logger for logger in loggers if logger.keeps_pictures]
    if not keeping:
        return
    pictures = grid(to_bytes(strategy, first_pictures(strategy, data)))
    for logger in keeping:
        logger.log_pictures(TAG, pictures)


@torch.no_grad()
def first_pictures(strategy: Strategy, data: PictureData, count: int = SHOWN) -> Tensor:
    """The first ``count`` pictures of the first batch as they enter the network: float (N, 3, S, S), normalised.

    Where several come of each, they lie side by side.
    """
    train = data.train
    keys = next(iter(data.train_batches()))
    whole, branches = len(keys), train.branches
    shown = [place + branch * whole for place in range(whole) for branch in range(branches)][:count]
    mixings = strategy.mixings(whole * branches, (train.size, train.size), 0, 0)
    mixings = [mixing for mixing in mixings if mixing.stage is None]
    pictures = list(dict.fromkeys(row % whole for row in _with_partners(shown, mixings)))
    inputs = finished(train.__getitems__([keys[picture] for picture in pictures])[0].to(strategy.device))
    rows = [picture + branch * whole for branch in range(branches) for picture in pictures]
    images = strategy.normalise(inputs)
    for mixing in mixings:
        images = mixing.of_rows(rows).inputs(images)
    return images[[rows.index(row) for row in shown]]


def _with_partners(rows: Sequence[int], mixings: Sequence[Any]) -> list[int]:
    """The rows, then all that are mixed into them: a large batch need not be decoded for a few of its pictures."""
    needed = dict.fromkeys(rows)
    for mixing in reversed(mixings):
        needed |= dict.fromkeys(int(mixing.partner[row]) for row in list(needed))
    return list(needed)


def to_bytes(strategy: Strategy, normalised: Tensor) -> NDArray[np.uint8]:
    """Undo the normalisation: float (N, 3, S, S) to uint8 (N, s, s, 3), no larger than SIDE pixels."""
    x = (normalised - strategy.pixel_shift) / strategy.pixel_scale
    if x.shape[-1] > SIDE:
        x = interpolate(x, size=(SIDE, SIDE), mode="area")
    return x.round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()


def grid(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures (N, s, s, 3) in rows of COLUMNS on white, the last row perhaps shorter: (H, W, 3)."""
    count, side = pictures.shape[:2]
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    step = side + GAP
    canvas = np.full((rows * step - GAP, columns * step - GAP, 3), 255, np.uint8)
    for number, picture in enumerate(pictures):
        top, left = step * (number // columns), step * (number % columns)
        canvas[top : top + side, left : left + side] = picture
    return canvas
