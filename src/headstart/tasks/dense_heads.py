"""Make output layers that give a value for each pixel: linear on joined stages, or a decoder with skip connections."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.backbones import Backbone, MapRows, read_maps
from headstart.errors import ConfigError
from headstart.settings.leaf_table import check_parameters
from headstart.tasks.heads import LinearHead, LinearLayer

GROUP = 8  # channels of each group of GroupNorm


class PixelLayers(nn.Module):
    """Output layers that take a row of maps an image, as ``MapRows`` lays them out."""

    def __init__(self, maps: Sequence[tuple[int, int, int]], size: int) -> None:
        super().__init__()
        self.maps, self.size = list(maps), size

    def split(self, rows: Tensor) -> list[Tensor]:
        """Return maps (N, C, H, W), one a stage, from rows (N, D)."""
        parts = rows.split([channels * height * width for channels, height, width in self.maps], dim=1)
        return [part.unflatten(1, shape) for part, shape in zip(parts, self.maps, strict=True)]

    def forward(self, rows: Tensor) -> Tensor:
        """Return outputs (N, K, size, size) of rows (N, D)."""
        return resized(self.coarse(self.split(rows)), self.size)

    def coarse(self, maps: list[Tensor]) -> Tensor:
        """Return outputs (N, K, H, W) at the finest of the maps."""
        raise NotImplementedError


class DenseLinear(LinearLayer):
    """One linear layer on the channels of all stages, enlarged to the finest map; then enlarged to the image.

    Enlarging (bilinear) and a linear layer on the channels commute, so each stage is weighed first, at its own size.
    ``weight`` is (K, channels of all stages), as for joined maps.
    """

    def __init__(self, maps: Sequence[tuple[int, int, int]], size: int, width: int, dropout: float = 0.0) -> None:
        super().__init__(sum(channels for channels, _, _ in maps), width, dropout)
        self.rows = PixelLayers(maps, size)

    def forward(self, rows: Tensor) -> Tensor:
        """Return outputs (N, K, size, size) of rows (N, D)."""
        return resized(self.coarse(self.rows.split(rows)), self.rows.size)

    def coarse(self, maps: list[Tensor]) -> Tensor:
        """Return outputs (N, K, H, W) at the finest of the maps."""
        finest = max(x.shape[-1] for x in maps)
        total = self.bias[:, None, None]
        weights = self.weight.split([x.shape[1] for x in maps], dim=1)
        for x, weight in zip(maps, weights, strict=True):
            x = F.dropout(x, self.dropout, self.training) if self.dropout else x
            total = total + resized(F.conv2d(x, weight[:, :, None, None]), finest)
        return total


class UpconvLayers(PixelLayers):
    """Enlarge the coarsest map step by step and join each finer stage: convolution, GroupNorm, ReLU.

    GroupNorm has no statistics of batches, which are small here, so training, evaluation and a batch in parts agree.
    """

    def __init__(self, maps: Sequence[tuple[int, int, int]], size: int, outputs: int, width: int) -> None:
        super().__init__(maps, size)
        self.order = sorted(range(len(maps)), key=lambda number: maps[number][1])  # the coarsest map first
        self.lateral = nn.ModuleList(nn.Conv2d(maps[number][0], width, 1) for number in self.order)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(2 * width if step else width, width, 3, padding=1, bias=False),
                nn.GroupNorm(width // GROUP, width),
                nn.ReLU(),
            )
            for step in range(len(maps))
        )
        self.output = nn.Conv2d(width, outputs, 1)

    def coarse(self, maps: list[Tensor]) -> Tensor:
        """Return outputs (N, K, H, W) at the finest of the maps."""
        x = None
        for number, lateral, block in zip(self.order, self.lateral, self.blocks, strict=True):
            skip = lateral(maps[number])
            x = block(skip if x is None else torch.cat([resized(x, skip.shape[-1]), skip], dim=1))
        outputs: Tensor = self.output(x)
        return outputs


def resized(x: Tensor, side: int) -> Tensor:
    """Return maps (N, C, H, W) as (N, C, side, side), bilinear."""
    return x if x.shape[-1] == side else F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)


class DenseHead(LinearHead):
    """Settings of a linear layer on the joined maps of several stages, with an output for each pixel."""

    by_pixel = True
    inits: tuple[str, ...] = ("default", "zeros", "gaussian")

    def __init__(self, stages: Sequence[str] | None = None, dropout: float = 0.0, init: str = "default") -> None:
        super().__init__(stages=stages, dropout=dropout, init=init)
        self.maps: list[tuple[int, int, int]] = []  # of the backbone that was read last
        self.size = 0

    def read(self, backbone: Backbone) -> Backbone:
        """Return the backbone with the maps of this head's stages in rows, and remember their shapes."""
        read = read_maps(backbone, self.stages)
        assert isinstance(read.pool, MapRows)
        self.maps = [shape for shape in read.pool.maps if shape is not None]
        self.size = read.preprocessing.image_size
        return read

    def _layers(self, feature_dim: int, classes: int) -> nn.Module:
        return DenseLinear(self.maps, self.size, classes, self.dropout)


class UpconvHead(DenseHead):
    """Settings of a light decoder with skip connections (after Ronneberger et al. 2015, arXiv:1505.04597).

    ``width`` is the number of channels of each step.
    """

    kind = "upconv"
    inits = ("default",)

    def __init__(self, stages: Sequence[str] | None = None, width: int = 64) -> None:
        check_parameters("head", locals())
        if width % GROUP:
            raise ConfigError(f"head.width={width}: expected a multiple of {GROUP}, such as 64.")
        super().__init__(stages)
        self.channels = width

    def _layers(self, feature_dim: int, classes: int) -> nn.Module:
        return UpconvLayers(self.maps, self.size, classes, self.channels)


def dense_head(head: LinearHead | None, task: str) -> DenseHead:
    """Return the settings of a head with an output for each pixel. Raises ConfigError for those of other heads."""
    if head is None:
        return DenseHead()
    if isinstance(head, DenseHead):
        return head
    if head.kind != "linear":
        raise ConfigError(f"head={head.kind} has one output an image: task={task} needs head=linear or head=upconv.")
    if head.pooling is not None:
        raise ConfigError(f"head.pooling={head.pooling}: task={task} reads maps without pooling; leave it null.")
    if head.init == "class_means":
        raise ConfigError(f"head.init=class_means: task={task} has no class means of images; use head.init=default.")
    return DenseHead(head.stages, head.dropout, head.init)


def check_head_of_images(head: Any, task: str) -> None:
    """Raise ConfigError for a head with an output for each pixel where a task has one an image."""
    if getattr(head, "by_pixel", False):
        raise ConfigError(f"head={head.kind} has an output for each pixel: use it with task=segmentation, not {task}.")
