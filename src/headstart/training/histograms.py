"""Log histograms of the weights after each epoch, which show weights that change, vanish or explode."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from headstart.devices.shares import whole
from headstart.errors import ConfigError
from headstart.records.curves import CurveLogger, Histogram

BINS = 64


class WeightHistograms(pl.Callback):
    """Histograms of each stage and the head after each epoch: ``weights/NAME``, ``weights/NAME/biases_and_norms``.

    Kernels and matrices are separate from vectors, because the scales of normalisation, all near 1, would hide the
    others. With averaged weights the histogram shows the average, which is validated and saved.
    """

    def setup(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        """Raise ConfigError if no logger keeps histograms."""
        if not _keeping(trainer.loggers):
            raise ConfigError("callbacks=histograms writes to TensorBoard, so it needs logger=tensorboard.")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Log the histograms of this epoch."""
        parts = {**dict(pl_module.backbone.stages), "head": pl_module.head}
        histograms = {
            f"weights/{name}{kind}": histogram
            for name, part in parts.items()
            for kind, tensors in _kinds(part)
            if (histogram := histogram_of(tensors)) is not None
        }
        for logger in _keeping(trainer.loggers):
            logger.log_histograms(trainer.current_epoch, histograms)


@torch.no_grad()
def histogram_of(tensors: Iterable[Tensor]) -> Histogram | None:
    """Return all finite values of the tensors in BINS equal bins from the minimum to the maximum; None without any.

    The device of the tensors counts them.
    """
    values = [tensor.detach().flatten().float() for tensor in tensors]
    values = [value[value.isfinite()] for value in values]
    values = [value for value in values if len(value)]
    if not values:
        return None
    low = min(float(value.min()) for value in values)
    high = max(float(value.max()) for value in values)
    if low == high:  # a bin needs a width
        margin = max(abs(low), 1.0) * 1e-3
        low, high = low - margin, high + margin
    counts = sum(torch.histc(value, BINS, low, high).double() for value in values)
    assert isinstance(counts, Tensor)
    return Histogram(
        counts.cpu().numpy(),
        np.linspace(low, high, BINS + 1),
        sum(float(value.sum(dtype=torch.float64)) for value in values),
        sum(float(value.double().square().sum()) for value in values),
    )


def _kinds(part: nn.Module) -> Iterator[tuple[str, list[Tensor]]]:
    parameters = [whole(parameter) for parameter in part.parameters()]
    yield "", [parameter for parameter in parameters if parameter.ndim > 1]
    yield "/biases_and_norms", [parameter for parameter in parameters if parameter.ndim <= 1]


def _keeping(loggers: Sequence[Any]) -> list[CurveLogger]:
    return [logger for logger in loggers if isinstance(logger, CurveLogger) and logger.keeps_histograms]
