"""One pass of images through an engine: decoding, and computing while the next images are decoded."""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.data import ImageSplit
from headstart.features.engines import Engine
from headstart.progress import ProgressLine
from headstart.workers import usable_cores

Key = tuple[int, int]  # epoch, position: what a view is drawn from


def compute(split: ImageSplit, keys: Sequence[Key], engine: Engine, what: str) -> Generator[NDArray[Any], None, None]:
    """Rows of these images in order, some at a time.

    Every batch has the engine's size, the last one filled up, so that a row does not depend on how many were asked for.
    """
    batches = [keys[start : start + engine.batch] for start in range(0, len(keys), engine.batch)]

    def load(batch: Sequence[Key]) -> NDArray[np.uint8]:
        return stacked(split, batch, engine.batch)

    if engine.lanes > 1:
        results = ahead(lambda batch: engine(load(batch)), batches, engine.lanes, 2 * engine.lanes)
    else:
        results = (engine(images) for images in ahead(load, batches, usable_cores(), 2 * usable_cores()))
    with ProgressLine(what, len(keys)) as progress:
        for batch, values in zip(batches, results, strict=True):
            yield values[: len(batch)]
            progress.advance(len(batch))


def stacked(split: ImageSplit, keys: Sequence[Key], size: int) -> NDArray[np.uint8]:
    """uint8 (size, S, S, 3): these images, repeated until there are enough."""
    images: NDArray[np.uint8] = split.view_tensor(keys).permute(0, 2, 3, 1).numpy()
    return images if len(images) == size else np.resize(images, (size, *images.shape[1:]))


def ahead(work: Callable[[Any], Any], items: Sequence[Any], threads: int, window: int) -> Generator[Any, None, None]:
    """``work`` of each item in order, by some threads that are at most ``window`` items ahead of the caller."""
    with ThreadPoolExecutor(threads) as pool:
        running: deque[Future[Any]] = deque()
        try:
            for item in items:
                running.append(pool.submit(work, item))
                if len(running) >= window:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
