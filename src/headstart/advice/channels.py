"""Measure the statistics that batch norm meets on a target, and how far they are from the stored ones."""

import contextlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from headstart.data import ImageSplit
from headstart.features.prefix import FrozenPrefix
from headstart.progress import ProgressLine
from headstart.similarity.channel_statistics import statistics_distance

MOST, BATCH = 512, 64  # images of the target that pass, and at once


class ChannelMoments:
    """Sums over the values of each channel that enter a layer, in float64."""

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.sums = torch.zeros(2, channels, dtype=torch.float64)

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Add the values of one batch, (N, C, ...)."""
        values = inputs[0].detach().transpose(0, 1).flatten(1).double()
        self.count += values.shape[1]
        self.sums += torch.stack([values.sum(dim=1), values.square().sum(dim=1)]).cpu()

    @property
    def mean(self) -> NDArray[np.float64]:
        """Return the mean of each channel, (C,)."""
        return (self.sums[0] / self.count).numpy()

    @property
    def variance(self) -> NDArray[np.float64]:
        """Return the variance of each channel, (C,)."""
        return np.maximum((self.sums[1] / self.count).numpy() - self.mean**2, 0)


@torch.inference_mode()
def channel_distances(prefix: FrozenPrefix, split: ImageSplit, device: torch.device) -> dict[str, list[float]]:
    """Return the distance of each batch-norm layer's statistics to the stored ones, by stage, lowest first.

    At most ``MOST`` images pass, evenly spaced in the split. Each layer normalises by its stored statistics, as in the
    frozen network. A stage without batch norm is left out.
    """
    prefix.eval().to(device)
    layers = [
        (stage, layer)
        for stage, part in zip(prefix.stage_names, prefix.stages, strict=True)
        for layer in part.modules()
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None
    ]
    moments = [ChannelMoments(layer.num_features) for _, layer in layers]
    places = np.linspace(0, len(split) - 1, min(MOST, len(split))).astype(int).tolist()
    with contextlib.ExitStack() as hooks, ProgressLine("batch-norm statistics", len(places)) as progress:
        for (_, layer), moment in zip(layers, moments, strict=True):
            hooks.callback(layer.register_forward_pre_hook(moment).remove)
        for start in range(0, len(places) if layers else 0, BATCH):
            batch = places[start : start + BATCH]
            prefix(split.view_tensor([(0, place) for place in batch]).permute(0, 2, 3, 1).to(device))
            progress.advance(len(batch))
    found: dict[str, list[float]] = {}
    for (stage, layer), moment in zip(layers, moments, strict=True):
        assert layer.running_mean is not None
        assert layer.running_var is not None
        stored = layer.running_mean.cpu().numpy(), layer.running_var.cpu().numpy()
        found.setdefault(stage, []).append(statistics_distance(*stored, moment.mean, moment.variance, layer.eps))
    return found
