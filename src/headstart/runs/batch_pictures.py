"""The first training batch as the network sees it, as one picture for people."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from headstart.augmentations import CutMix, Mixup
from headstart.data import PictureData
from headstart.data.module import EvenBatches
from headstart.runs.curves import Curves
from headstart.seeds import generator
from headstart.strategies import Strategy

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
    """The first ``count`` pictures of the first batch as they enter the network: float (N, 3, S, S), normalised."""
    keys = next(iter(EvenBatches(len(data.train), data.batch_size, data.order_seed)))
    rows = list(range(min(count, len(keys))))
    if strategy.mixes:
        rows = _mixed_from(strategy, len(keys), rows, data.train.size)
    inputs = data.train.__getitems__([keys[row] for row in rows])[0]
    images = strategy.normalise(inputs.to(strategy.device))
    return _mix(strategy, images, len(keys), rows)[0][:count]


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


class RowDraws:
    """A generator that draws as for a whole batch, and tells some of its rows with whom they are mixed."""

    def __init__(self, rng: np.random.Generator, batch: int, rows: Sequence[int]) -> None:
        self.rng, self.batch, self.rows = rng, batch, rows
        self.places = {row: place for place, row in enumerate(rows)}
        self.drawn: list[list[int]] = []  # for each mix, the partner of each picture of the batch

    def permutation(self, length: int) -> NDArray[np.int64]:
        """The places of the partners; a row whose partner is not among the rows is told itself, and is of no use."""
        self.drawn.append(self.rng.permutation(self.batch).tolist())
        partners = [self.drawn[-1][row] for row in self.rows]
        return np.array([self.places.get(partner, place) for place, partner in enumerate(partners)])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rng, name)


def _mix(strategy: Strategy, images: Tensor, batch: int, rows: Sequence[int]) -> tuple[Tensor, RowDraws]:
    """Mix these rows of a batch as training_step mixes the whole, in the first step of all; and what was drawn."""
    draws: Any = RowDraws(generator("mix", strategy.noise_seed, 0, 0), batch, rows)
    targets = torch.zeros(len(rows), 1, device=images.device)
    for mix in strategy.mixes:
        images, targets = mix(images, targets, draws)
    return images, draws


def _mixed_from(strategy: Strategy, batch: int, rows: Sequence[int], size: int) -> list[int]:
    """The rows, then all that are mixed into them: a large batch need not be decoded for a few of its pictures.

    Pictures without channels, on which the mixes are tried, take no memory, and have the height and width that CutMix
    draws from. All rows, where a mix is not one of ours: it might draw numbers for each picture.
    """
    if not all(type(mix) in (Mixup, CutMix) for mix in strategy.mixes):
        return list(range(batch))
    drawn = _mix(strategy, torch.zeros(batch, 0, size, size), batch, range(batch))[1].drawn
    needed = dict.fromkeys(rows)
    for partners in reversed(drawn):
        needed |= dict.fromkeys(partners[row] for row in list(needed))
    return list(needed)
