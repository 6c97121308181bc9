"""Run images through an engine, and decode the next ones meanwhile."""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.data import ImageSplit
from headstart.features.engines import Engine
from headstart.inputs.signature import StoredArray
from headstart.progress import ProgressLine
from headstart.workers import usable_cores

Key = tuple[int, int]  # (epoch, position), which determine a view


def compute(split: ImageSplit, keys: Sequence[Key], engine: Engine, what: str) -> Generator[NDArray[Any], None, None]:
    """Yield the rows of these images in order, some at a time.

    Every batch is filled up to the engine's size, so that a row does not depend on how many images are computed.
    """
    batches = [keys[start : start + engine.batch] for start in range(0, len(keys), engine.batch)]

    def load(batch: Sequence[Key]) -> StoredArray:
        return stacked(split, batch, engine.batch)

    if engine.lanes > 1:
        results = ahead(lambda batch: engine(load(batch)), batches, engine.lanes, 2 * engine.lanes)
    else:
        results = (engine(images) for images in ahead(load, batches, usable_cores(), 2 * usable_cores()))
    with ProgressLine(what, len(keys)) as progress:
        for batch, values in zip(batches, results, strict=True):
            yield values[: len(batch)]
            progress.advance(len(batch))


def stacked(split: ImageSplit, keys: Sequence[Key], size: int) -> StoredArray:
    """Return (size, S, S, C): these images, repeated to fill the size."""
    images: StoredArray = split.view_tensor(keys).permute(0, 2, 3, 1).numpy()
    return images if len(images) == size else np.resize(images, (size, *images.shape[1:]))


def ahead(work: Callable[[Any], Any], items: Sequence[Any], threads: int, window: int) -> Generator[Any, None, None]:
    """Yield ``work`` of each item in order, computed by threads at most ``window`` items ahead of the caller."""
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
