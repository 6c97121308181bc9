"""Compute scores from the data alone, without a network, for comparison with a run."""

import logging
from collections.abc import Callable, Iterable, Mapping

from headstart.data import ImageData
from headstart.references.raw_pixels import raw_pixels
from headstart.references.sift_pyramid import sift_pyramid
from headstart.tasks import Task

log = logging.getLogger(__name__)
REFERENCES: dict[str, Callable[[ImageData, Task, int], Mapping[str, float]]] = {
    "raw_pixels": raw_pixels,
    "sift_pyramid": sift_pyramid,
}


def compute_references(names: Iterable[str], data: ImageData, task: Task, seed: int) -> dict[str, Mapping[str, float]]:
    """Return the scores of each reference, by the names of metrics."""
    found = {}
    for name in names:
        found[name] = REFERENCES[name](data, task, seed)
        metric = data.kind.primary
        value = metric.text(found[name][f"test/{metric.name}"])
        log.info("%s, no network: test %s %s", name.replace("_", " "), metric.words, value)
    return found
