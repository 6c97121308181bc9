"""Count the seconds and images of training, in this epoch and in all earlier ones."""

import time
from collections.abc import Mapping
from typing import Any

import torch

from headstart import ranks


class EpochClock:
    """A counter of the images and seconds of training steps; validation does not count."""

    def __init__(self) -> None:
        self.images_trained, self.seconds_trained = 0, 0.0  # in all finished epochs
        self.images = 0  # of this process in this epoch
        self._start, self._seconds = 0.0, 0.0
        self._device = torch.device("cpu")

    def start(self, device: torch.device) -> None:
        """Begin an epoch."""
        self._device = device
        self.images, self._start = 0, time.perf_counter()

    def stop(self) -> float:
        """End the steps of an epoch and return their seconds; a second call returns the same."""
        if self._start > 0:
            self._seconds = self.running()
            self._start = 0.0
        return self._seconds

    def running(self) -> float:
        """Return how long the steps of this epoch have taken so far; 0 between epochs."""
        if self._start <= 0:
            return 0.0
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter() - self._start

    def end_epoch(self) -> float:
        """Add the epoch to the finished ones; return its images per second, over all processes."""
        seconds, images = self.stop(), ranks.total(self.images)
        self.images_trained += int(images)
        self.seconds_trained += seconds
        self._start = 0.0
        return images / max(seconds, 1e-9)

    def state(self) -> dict[str, Any]:
        """Return what ``resume`` needs."""
        return {
            "samples": (self.images_trained, int(ranks.total(self.images))),
            "seconds": (self.seconds_trained, self.running()),
        }

    def resume(self, state: Mapping[str, Any], device: torch.device, mid_epoch: bool) -> None:
        """Restore the counts of a checkpoint; within an epoch, continue its clock."""
        self._device = device
        self.images_trained, images = state["samples"]
        self.images = images if ranks.leads() else 0
        self.seconds_trained, running = state["seconds"]
        if mid_epoch:
            self._start = time.perf_counter() - running
